"""Keras models with their own `train_step`, and schedules; `suite.training` runs them."""
