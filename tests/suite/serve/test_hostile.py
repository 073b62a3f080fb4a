from urllib.parse import urlsplit

from benchmarks.serving.serve_attacks import LARGEST, MAKERS, attack_server
from tests.suite.serve.conftest import serve, stop


def test_bad_requests_are_refused_and_good_ones_answered(exported):
    server = serve(exported, "--max-request-mib", str(LARGEST // 2**20))
    try:
        address = urlsplit(server.url)
        result = attack_server(address.hostname, address.port, 400)
    finally:
        assert stop(server) == 0

    assert not result["wrong"]
    assert result["sent"] == result["refused"]
    assert set(result["sent"]) == set(MAKERS)
    assert result["good"] > 10
    assert not result["good_failed"]
