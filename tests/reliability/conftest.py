import hypothesis
import pytest

from suite.app import app_names
from tests.reliability.runs import SmallRun

QUICK_APPS = ("iris",)  # the tests with the others are marked `full`
hypothesis.settings.register_profile("default", max_examples=50, deadline=10_000)
hypothesis.settings.register_profile("full", max_examples=2000, deadline=10_000)
hypothesis.settings.load_profile("default")


def pytest_generate_tests(metafunc):
    """Every app that is found, of which only some are tried where there is little time."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize(
            "name",
            [
                pytest.param(name, marks=() if name in QUICK_APPS else pytest.mark.full)
                for name in app_names()
            ],
        )


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """By an app's name, its training that nobody disturbed."""
    made = {}

    def made_once(name):
        if name not in made:
            run = SmallRun(name, tmp_path_factory.mktemp(name))
            assert run.finish() == 0, run.output
            made[name] = run
        return made[name]

    return made_once
