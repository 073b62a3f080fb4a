"""Models with a training step of their own."""
