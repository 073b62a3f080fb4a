"""Runs trainings around Keras's `fit`: opens or resumes, fits, evaluates, exports, reports."""
