"""Layers that the networks of several applications use."""
