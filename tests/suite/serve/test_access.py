import pytest

from suite.serve.access import Access
from suite.serve.status import RequestError


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_token_may_be_written_in_any_case(scheme):
    access = Access(token="open sesame")

    access.check_token(f"{scheme} open sesame")
    for wrong in ("", scheme, f"{scheme} open", "Basic open sesame", f"{scheme} Open sesame"):
        with pytest.raises(RequestError, match="a bearer token is needed"):
            access.check_token(wrong)


def test_an_origin_that_is_no_address_is_another_one():
    with pytest.raises(RequestError, match="must be of an allowed origin"):
        Access().check_site("", "http://[", "localhost")
