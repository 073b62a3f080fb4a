"""A server for the exports under `saved_models/`, with TensorFlow Serving's REST and gRPC APIs.

`rest` and `rpc` receive requests, `tensors` and `uploads` parse their bodies, `models` lists, loads
and replaces versions, and `batching` combines requests. `server` runs everything in one process,
`replicas` in several processes on Ray Serve.
"""

from suite.startup import begin_server

begin_server()
