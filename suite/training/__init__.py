"""A training from its seed to its report, and the state from which it resumes."""
