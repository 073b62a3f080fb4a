"""Projections, factors and nearest subspaces that are solved for, rather than descended to."""
