"""REST and gRPC, used by clients that know nothing of the suite."""

import json
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from suite.export.versions import versions
from tests.suite.serve.conftest import SERVED, serve, stop

SIZES = {None: 3}  # of axes whose size is free


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.rpc) as channel:
        yield channel


def request_of(model, signature="serving_default", inputs=None, **spec):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in (inputs or {}).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    return request


def example(spec):
    """A value of the dtype and shape of an input."""
    shape = [SIZES.get(size, size) for size in spec.shape]
    return np.random.default_rng(0).integers(1, 4, shape).astype(spec.dtype.as_numpy_dtype)


def curl(server, path, body):
    command = ["curl", "-s", "-d", "@-", f"{server.url}/v1/models/{path}"]
    process = subprocess.run(
        command, input=json.dumps(body), capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout)


@pytest.mark.parametrize("name", SERVED)
def test_clients_and_the_model_itself_agree_on_every_signature(name, server, channel):
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    loaded = tf.saved_model.load(str(server.folder / name / "1"))
    for signature, function in loaded.signatures.items():
        specs = function.structured_input_signature[1].values()
        if any(spec.dtype == tf.string for spec in specs):
            continue  # pictures and text are asked for in test_rest.py
        inputs = {spec.name: example(spec) for spec in specs}
        expected = function(**{key: tf.constant(value) for key, value in inputs.items()})

        lists = {key: value.tolist() for key, value in inputs.items()}
        body = {"signature_name": signature, "inputs": lists}
        columns = server.post(f"{name}:predict", **body).json()["outputs"]
        assert curl(server, f"{name}:predict", body)["outputs"] == columns
        if len(expected) == 1:
            columns = dict.fromkeys(expected, columns)
        tensors = predict(request_of(name, signature, inputs)).outputs

        assert columns.keys() == tensors.keys() == expected.keys()
        for key, value in expected.items():
            exact = tf.make_ndarray(tensors[key])
            if value.dtype == tf.string:
                assert exact.tolist() == value.numpy().tolist()
                assert columns[key] == [text.decode() for text in exact]
                continue
            np.testing.assert_allclose(columns[key], value, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(exact, value, rtol=1e-5, atol=1e-5)
            assert exact.dtype == value.dtype


@pytest.mark.parametrize("name", SERVED)
def test_a_client_made_for_another_server_agrees(name, server):
    ovmsclient = pytest.importorskip("ovmsclient", reason="ovmsclient is not installed")
    function = tf.saved_model.load(str(server.folder / name / "1")).signatures["serving_default"]
    [spec] = function.structured_input_signature[1].values()
    inputs = {spec.name: example(spec)}
    expected = function(**{spec.name: tf.constant(inputs[spec.name])})

    for make_client, address in (
        (ovmsclient.make_grpc_client, server.rpc),
        (ovmsclient.make_http_client, server.url.removeprefix("http://")),
    ):
        client = make_client(address)
        outputs = client.predict(inputs=inputs, model_name=name)
        columns = outputs if isinstance(outputs, dict) else dict.fromkeys(expected, outputs)

        assert client.get_model_status(name)[1]["state"] == "AVAILABLE"
        for key, value in expected.items():
            if value.dtype != tf.string:
                np.testing.assert_allclose(columns[key], value, rtol=1e-5, atol=1e-5)


def test_status_of_a_model_and_of_a_version(server, channel):
    expected = {"version": "1", "state": "AVAILABLE"}
    statuses = server.get("iris").json()["model_version_status"]

    assert statuses == [{**expected, "status": {"error_code": "OK", "error_message": ""}}]
    assert server.get("iris/versions/1").json()["model_version_status"] == statuses
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "iris"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    [one] = MessageToDict(status, preserving_proto_field_name=True)["model_version_status"]
    assert {key: one[key] for key in expected} == expected


def test_metadata_is_what_the_export_says(server, channel):
    metadata = server.get("iris/metadata").json()

    assert metadata["model_spec"] == {"name": "iris", "signature_name": "", "version": "1"}
    default = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert default["inputs"]["features"]["dtype"] == "DT_FLOAT"
    sizes = [dim["size"] for dim in default["inputs"]["features"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "4"]
    assert default["method_name"] == "tensorflow/serving/predict"

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "iris"
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["features"].dtype == tf.float32


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "words"),
    [
        ("POST", "iris:predict", "{", 400, "must be JSON"),
        ("POST", "iris:predict", '{"instances": [[1, 2]]}', 400, "the shape (any, 4)"),
        ("POST", "iris:predict", '{"instances": [1], "inputs": 1}', 400, "either"),
        ("POST", "iris:predict", '{"signature_name": "x", "inputs": 1}', 400, "one of: row, serve"),
        ("POST", "iris:predict", '{"signature_name": "\\ud800", "inputs": NaN}', 400, "\\ud800"),
        ("POST", "rose:predict", '{"instances": [1]}', 404, "Servable not found"),
        ("POST", "iris/versions/9:predict", '{"instances": [1]}', 404, "Specific(9)"),
        ("POST", "iris/versions/x:predict", '{"instances": [1]}', 400, "must be a number"),
        ("POST", "iris/labels/best:predict", '{"instances": [1]}', 400, "label: best"),
        ("GET", "rose", "", 404, "Could not find any versions of model rose"),
        ("GET", "iris/versions/9", "", 404, "version 9"),
        ("GET", "iris:predict", "", 404, "model iris:predict"),
        ("DELETE", "iris", "", 400, "Malformed request: DELETE"),
        ("POST", "iris:classify", "{}", 400, "Malformed request: POST"),
        (
            "POST",
            "vae:predict",
            '{"signature_name": "sample", "inputs": {"num": 0, "seed": 1}}',
            400,
            "the model refuses: num must be in 1..10,000. Received: 0",
        ),
    ],
)
def test_bad_requests_get_one_sentence_in_tensorflow_serving_s_form(
    method, path, body, code, words, server
):
    response = requests.request(method, f"{server.url}/v1/models/{path}", data=body, timeout=60)

    assert response.status_code == code
    assert response.json().keys() == {"error"}
    assert words in response.json()["error"]
    assert "\n" not in response.json()["error"]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (request_of("rose"), grpc.StatusCode.NOT_FOUND, "Latest(rose)"),
        (request_of("iris"), grpc.StatusCode.INVALID_ARGUMENT, "named features"),
        (
            request_of("iris", inputs={"features": [[1, 2, 3, 4]]}),
            grpc.StatusCode.INVALID_ARGUMENT,
            "must be float32. Received: int32",
        ),
        (
            request_of("iris", inputs={"features": [[1.0]]}),
            grpc.StatusCode.INVALID_ARGUMENT,
            "the shape (any, 4)",
        ),
        (request_of("iris", "x"), grpc.StatusCode.INVALID_ARGUMENT, "one of: row, serve"),
        (request_of("iris", version_label="x"), grpc.StatusCode.INVALID_ARGUMENT, "label: x"),
    ],
)
def test_bad_calls_get_one_sentence(request_, code, words, channel):
    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request_)

    assert caught.value.code() is code
    assert words in caught.value.details()


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"dtype": 999}, grpc.StatusCode.INVALID_ARGUMENT, "a whole tensor"),
        ({"dtype": 1, "sizes": [-1, 4]}, grpc.StatusCode.INVALID_ARGUMENT, "a whole tensor"),
        ({"dtype": 1, "content": b"abc"}, grpc.StatusCode.INVALID_ARGUMENT, "a whole tensor"),
        ({"dtype": 1, "sizes": [10**9, 4]}, grpc.StatusCode.RESOURCE_EXHAUSTED, "at most"),
    ],
)
def test_tensors_that_are_none_are_refused(fields, code, words, channel):
    request = request_of("iris")
    proto = request.inputs["features"]
    proto.dtype = fields["dtype"]
    for size in fields.get("sizes", [1, 4]):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_content = fields.get("content", b"")
    if "content" not in fields:
        proto.float_val.append(1.0)

    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)

    assert caught.value.code() is code
    assert words in caught.value.details()


def test_strings_scalars_and_several_inputs_go_through_grpc(toy_server):
    calls = [
        ("text", "", {"text": ["é", b"raw"]}, "bytes", ["é".encode() + b"\xff", b"raw\xff"]),
        ("pair", "", {"question": ["a", "b"], "times": np.int64([1, 2])}, "answer", [b"a1", b"b2"]),
        ("pair", "greet", {"name": "you"}, "greeting", b"Hello you\x00"),
        ("table", "", {"features": np.float32([[1, 3, 2]])}, "name", [b"middle"]),
    ]
    with grpc.insecure_channel(toy_server.rpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        for model, signature, inputs, output, expected in calls:
            answer = predict(request_of(model, signature, inputs))

            assert tf.make_ndarray(answer.outputs[output]).tolist() == expected
            assert answer.model_spec.signature_name == (signature or "serving_default")


def test_a_string_may_not_stand_for_very_many(toy_server):
    request = request_of("text", inputs={"text": ["x"]})
    request.inputs["text"].tensor_shape.dim[0].size = 10**9

    with grpc.insecure_channel(toy_server.rpc) as channel, pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_only_outputs_that_are_asked_for_come(channel):
    request = request_of("iris", inputs={"features": np.ones((1, 4), "float32")})
    request.output_filter.append("label")

    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)

    assert list(answer.outputs) == ["label"]
    assert answer.model_spec.version.value == 1


def test_health_and_numbers(server):
    base = server.url
    server.post("iris:predict", instances=[[1, 2, 3, 4]])

    assert requests.get(f"{base}/healthz", timeout=60).json() == {"status": "alive"}
    assert requests.get(f"{base}/readyz", timeout=60).json() == {"models": SERVED}
    numbers = requests.get(f"{base}/metrics", timeout=60).text
    assert 'suite_requests_total{code="OK",model="iris",way="rest"}' in numbers
    assert 'suite_request_seconds_bucket{le="' in numbers

    server.post("made_up/labels/x:predict", instances=[1])
    assert "made_up" not in requests.get(f"{base}/metrics", timeout=60).text


def test_what_is_promised_of_access_and_size(copied, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("open sesame\n")
    flags = ["--token-file", str(secret), "--max-request-mib", "1", "--label", "iris/best=1"]
    server = serve(copied, *flags)
    try:
        assert server.get("iris").status_code == 401
        assert requests.get(f"{server.url}/metrics", timeout=60).status_code == 401
        assert requests.get(f"{server.url}/readyz", timeout=60).status_code == 200
        assert "Playground" in requests.get(f"{server.url}/", timeout=60).text
        bearer = {"Authorization": "Bearer open sesame"}
        url = f"{server.url}/v1/models/iris/labels/best:predict"
        good = {"instances": [[1, 2, 3, 4]]}
        assert requests.post(url, json=good, headers=bearer, timeout=60).status_code == 200
        large = requests.post(url, data=b" " * 2**20 + b"{}", headers=bearer, timeout=60)
        assert large.status_code == 413
        with grpc.insecure_channel(server.rpc) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            request = request_of("iris", inputs={"features": np.ones((1, 4), "float32")})
            with pytest.raises(grpc.RpcError) as caught:
                predict(request)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert predict(request, metadata=[("authorization", "Bearer open sesame")]).outputs
    finally:
        assert stop(server) == 0


def test_exports_come_and_go_while_nobody_is_refused(copied):
    server = serve(copied)
    failed, served, stopped = [], 0, threading.Event()

    def ask():
        nonlocal served
        with requests.Session() as session:
            url = f"{server.url}/v1/models/iris:predict"
            while not stopped.is_set():
                response = session.post(url, json={"instances": [[1, 2, 3, 4]]}, timeout=60)
                served += 1
                if response.status_code != 200:
                    failed.append(response.text)

    def until(state):
        while True:
            statuses = server.get("iris").json().get("model_version_status", [])
            if [(one["version"], one["state"]) for one in statuses] == state:
                return
            time.sleep(0.1)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for thread in clients:
            thread.start()
        for number in (2, 3):
            aside = copied / "aside"
            shutil.copytree(copied / "iris" / "1", aside)
            aside.rename(copied / "iris" / str(number))
        until([("3", "AVAILABLE"), ("2", "AVAILABLE"), ("1", "AVAILABLE")])
        shutil.rmtree(copied / "iris" / "1")
        shutil.rmtree(copied / "iris" / "2")
        until([("3", "AVAILABLE")])

        # One that is copied slowly is broken at first.
        half = copied / "iris" / "4"
        half.mkdir()
        (half / "saved_model.pb").write_bytes(b"half")
        until([("4", "END"), ("3", "AVAILABLE")])
        assert (
            server.get("iris/versions/4").json()["model_version_status"][0]["status"]["error_code"]
            == "DATA_LOSS"
        )
        shutil.copytree(copied / "iris" / "3", half, dirs_exist_ok=True)
        until([("4", "AVAILABLE"), ("3", "AVAILABLE")])
        assert server.get("iris/metadata").json()["model_spec"]["version"] == "4"
        assert server.post("iris/versions/3:predict", instances=[[1, 2, 3, 4]]).ok
    finally:
        stopped.set()
        for thread in clients:
            thread.join()
        assert stop(server) == 0
    assert versions(copied / "iris") == [3, 4]
    assert served > 100
    assert not failed


def test_more_than_may_wait_are_told_to_come_again(exported, tmp_path):
    shutil.copytree(exported / "dcgan", tmp_path / "models" / "dcgan")
    server = serve(tmp_path / "models", "--max-queue", "1")
    body = {"signature_name": "sample", "inputs": {"num": 500, "seed": 0}}
    try:
        with ThreadPoolExecutor(4) as clients:
            tasks = [clients.submit(server.post, "dcgan:predict", **body) for _ in range(4)]
            answers = [task.result() for task in tasks]
    finally:
        assert stop(server) == 0

    refused = [answer for answer in answers if answer.status_code == 503]
    assert 1 <= len(refused) < 4
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    assert all(answer.ok for answer in answers if answer not in refused)


def test_a_request_that_takes_too_long_is_told_so(exported, tmp_path):
    shutil.copytree(exported / "dcgan", tmp_path / "models" / "dcgan")
    server = serve(tmp_path / "models", "--timeout-seconds", "0.05")
    try:
        body = {"num": 2000, "seed": 0}
        response = server.post("dcgan:predict", signature_name="sample", inputs=body)
    finally:
        assert stop(server) == 0

    assert response.status_code == 504
    assert response.json() == {"error": "no answer within 0.05 seconds"}


def test_a_client_that_does_not_end_its_headers_is_left(exported):
    server = serve(exported, "--timeout-seconds", "1")
    host, port = server.url.removeprefix("http://").split(":")
    once = b"GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n"

    for sent in (b"", b"GET /readyz HTTP/1.1\r\nHost:", once + once[:20]):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(sent)
            while connection.recv(4096):  # until the server closes the connection
                pass
    assert stop(server) == 0


def test_what_is_in_flight_is_finished_at_the_end(exported, tmp_path):
    shutil.copytree(exported / "dcgan", tmp_path / "models" / "dcgan")
    server = serve(tmp_path / "models")
    answers = []

    def ask():
        body = {"num": 1000, "seed": 0}
        response = server.post("dcgan:predict", signature_name="sample", inputs=body)
        answers.append(len(response.json()["outputs"]))

    client = threading.Thread(target=ask)
    client.start()
    time.sleep(0.2)

    assert stop(server) == 0
    client.join()
    assert answers == [1000]
