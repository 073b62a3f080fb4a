"""Layers for sequences: recurrent stacks, attention and the blocks of Transformers."""
