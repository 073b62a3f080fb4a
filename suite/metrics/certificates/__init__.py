"""Proofs about what a trained network computes, and training until a network has one."""
