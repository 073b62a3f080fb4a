"""What a trained network bases an answer on: heat maps of pictures, shares of features."""
