import pytest

from apps.mnist_cnn import app
from suite import Run, train


def train_in(folder, recipe):
    where = {"run_dir": folder / "run", "export_dir": folder / "saved_models"}
    return train(app, recipe, Run(data="embedded", quiet=True, figures=False, **where))


@pytest.fixture(scope="session")
def of_digits(tmp_path_factory):
    """An exported training of a network that knows the embedded digits."""
    recipe = app.recipe("fast", filters=(8, 16), epochs=1)
    return train_in(tmp_path_factory.mktemp("of_digits"), recipe)


@pytest.fixture(scope="session")
def of_views(tmp_path_factory):
    """An exported training of a network that answers after several views of a picture."""
    recipe = app.recipe(**app.tiny | {"filters": (8, 16), "views": "mirrored_and_shifted"})
    return train_in(tmp_path_factory.mktemp("of_views"), recipe)
