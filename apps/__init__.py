"""The applications: one module each, found by being here."""

import suite  # noqa: F401 - before anything else, which keeps TensorFlow from writing first
