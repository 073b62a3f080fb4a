"""Reinforcement learning inside `fit`."""
