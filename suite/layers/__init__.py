"""Functions for the builders of functional models, on any backend of Keras."""
