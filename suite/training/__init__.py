"""Trainings: load and build, fit, evaluate, export and report; and resume from a saved state."""
