"""Projections, factors and nearest subspaces, computed without gradient descent."""
