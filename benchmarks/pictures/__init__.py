"""Networks of pictures: what they reach at which cost, beside PyTorch, keras.io and tutorials."""
