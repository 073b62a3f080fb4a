"""Decisions by tables of values: the model of an environment, planning in it, and learning."""
