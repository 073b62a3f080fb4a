"""Studies that work for every application."""
