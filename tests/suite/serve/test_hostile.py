from urllib.parse import urlsplit

from benchmarks.serve_attacks import LARGEST, MAKERS, attacked
from tests.suite.serve.conftest import serve, stop


def test_bad_requests_are_refused_and_good_ones_answered(exported):
    server = serve(exported, "--max-request-mib", str(LARGEST // 2**20))
    try:
        address = urlsplit(server.url)
        found = attacked(address.hostname, address.port, 400)
    finally:
        assert stop(server) == 0

    assert not found["wrong"]
    assert found["sent"] == found["refused"]
    assert set(found["sent"]) == set(MAKERS)
    assert found["good"] > 10
    assert not found["good_failed"]
