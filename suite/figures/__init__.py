"""Matplotlib figures, which know no application."""
