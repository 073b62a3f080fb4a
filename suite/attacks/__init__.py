"""Small changes of an input that change the answer of a network."""
