"""Text: files of it, its tokens, and pairs of sentences."""
