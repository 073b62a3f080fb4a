"""Examples, the pipelines that feed them to `fit`, and readers of what they come from."""
