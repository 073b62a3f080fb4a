"""Sequences from networks that predict the next token: searched or sampled, inside the graph."""
