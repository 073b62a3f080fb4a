"""Pictures: files, decoding, what makes a model's input of them, and where they come from."""
