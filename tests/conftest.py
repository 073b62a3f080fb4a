import gc
import logging
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf

kept_trainings = {}  # at most one, by the name of its app
PREPARED = os.environ.get("TFDS_DATA_DIR")

# Tests of replicas need two devices: every process makes two logical ones of its CPU.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.hookimpl(wrapper=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """Runs the tests of a file in one process, unless they name a group of their own.

    The tests of the server share exports and servers, so they are one group.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            file = item.path.relative_to(Path(__file__).parent)
            group = "serve" if file.parent.name == "serve" else str(file)
            item.add_marker(pytest.mark.xdist_group(group))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """After a file, exempts what is left of it from garbage collection.

    Collections, of which some tests ask for several, would take seconds after an hour. A training
    that is kept is not exempted, since it will be garbage.
    """
    yield
    if nextitem is not None and nextitem.path != item.path and not kept_trainings:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def training(tmp_path_factory):
    """Returns, by the name of an app, its small training, kept until another app is trained."""
    from tests.trainings import train_once

    def make(name):
        if name not in kept_trainings:
            kept_trainings.clear()
            gc.collect()  # models and their graphs refer to each other
            gc.freeze()  # so that the next collection need not visit what is left
            kept_trainings[name] = train_once(name, tmp_path_factory.mktemp(name))
        return kept_trainings[name]

    return make


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every test works in an empty folder, without data prepared elsewhere, and in float32."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no_data"))
    keras.utils.set_random_seed(0)
    yield tmp_path
    keras.config.set_dtype_policy("float32")
    logger = logging.getLogger("suite")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def real_data(monkeypatch):
    """Makes the prepared MNIST and iris available, or skips the test without them."""
    if not PREPARED or not list(Path(PREPARED).glob("mnist/*/dataset_info.json")):
        pytest.skip("TFDS_DATA_DIR does not hold a prepared MNIST")
    monkeypatch.setenv("TFDS_DATA_DIR", PREPARED)
