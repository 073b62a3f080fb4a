"""Images a second in training, of an application and of the same network in PyTorch."""
