"""Metrics and proofs by which trained networks are evaluated."""
