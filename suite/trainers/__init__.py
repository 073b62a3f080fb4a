"""Keras models with their own training steps, and schedules and functions for them."""
