"""How models are trained; `suite.training` runs it.

Keras models with their own `train_step` or `compute_loss`, losses, optimizers, schedules and
callbacks.
"""
