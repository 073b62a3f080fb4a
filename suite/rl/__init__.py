"""Reinforcement learning inside Keras's `fit`, on environments of Gymnasium."""
