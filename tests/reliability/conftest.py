import hypothesis
import pytest

from suite.app import app_names
from tests.reliability.runs import SmallRun

# One application for each kind of trainer: plain `fit`, a recurrent network, adversaries, a bound,
# and a player of environments.
TRAINERS = ("iris", "binary_addition", "dcgan", "vae", "a2c")
# By the argument of a test that names an application; the tests with all others are marked `full`.
QUICK_APPS = {"name": ("iris",), "trainer": TRAINERS}
hypothesis.settings.register_profile("default", max_examples=50, deadline=10_000)
hypothesis.settings.register_profile("full", max_examples=2000, deadline=10_000)
hypothesis.settings.load_profile("default")


def pytest_generate_tests(metafunc):
    """Every app that is found, of which only some are tried where there is little time."""
    for argument, quick in QUICK_APPS.items():
        if argument in metafunc.fixturenames:
            metafunc.parametrize(
                argument,
                [
                    pytest.param(name, marks=() if name in quick else pytest.mark.full)
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
