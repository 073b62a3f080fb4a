import hypothesis
import pytest

from suite.app import app_names
from tests.reliability.runs import SmallRun

# Keras's training step, and one of two networks. The others are resumed by the contract from what
# lies on the disk after an epoch, though in the same process.
TRAINERS = ("iris", "dcgan")
# The applications that are tested in the short run, by the argument of the test that names one.
QUICK_APPS = {"name": ("iris",), "trainer": TRAINERS}
hypothesis.settings.register_profile("default", max_examples=50, deadline=10_000)
hypothesis.settings.register_profile("full", max_examples=2000, deadline=10_000)
hypothesis.settings.load_profile("default")


def pytest_generate_tests(metafunc):
    """Runs tests with such an argument for every app, and marks all but the quick ones `full`."""
    for argument, quick in QUICK_APPS.items():
        if argument in metafunc.fixturenames:
            metafunc.parametrize(
                argument,
                # The tests of one app share its undisturbed training.
                [
                    pytest.param(
                        name,
                        marks=[
                            pytest.mark.xdist_group(f"reliability of {name}"),
                            *([] if name in quick else [pytest.mark.full]),
                        ],
                    )
                    for name in app_names()
                ],
            )


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Returns, by the name of an app, a training of it that ran without a fault."""
    runs = {}

    def train_once(name):
        if name not in runs:
            run = SmallRun(name, tmp_path_factory.mktemp(name))
            assert run.finish() == 0, run.output
            runs[name] = run
        return runs[name]

    return train_once
