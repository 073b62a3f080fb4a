"""Proofs about what a trained network computes."""
