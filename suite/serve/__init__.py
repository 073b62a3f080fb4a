"""A server for what lies under `saved_models/`, which answers as TensorFlow Serving does.

`models` finds, loads and replaces the versions, `batches` puts requests together, `tensors` reads
and writes JSON, and `rest` and `rpc` are the two ways in. `server` and `ray` are the engines: one
process, or many.
"""

import suite.hushed  # noqa: F401 - before anything else imports TensorFlow
