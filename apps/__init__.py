"""The applications: one module each, found by being here."""

import suite.hushed  # noqa: F401 - before anything else imports TensorFlow
