"""Figures that several applications draw."""
