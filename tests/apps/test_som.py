import dataclasses

import keras
import numpy as np
import PIL.Image
import pytest

from apps.som import (
    Codebook,
    app,
    build_model,
    draw_units,
    lay_on_plane,
    unit_classes,
    winners,
)
from suite import InputError, Run, cli, train
from suite.app import Fitted
from suite.data import Examples, Source

QUIET = Run(data="embedded", quiet=True, figures=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A map of 6 x 7 units that was trained on the embedded digits."""
    folder = tmp_path_factory.mktemp("som")
    run = Run(data="embedded", quiet=True, run_dir=folder / "run", export_dir=folder / "exports")
    return train(app, app.recipe(rows=6, columns=7, epochs=5), run)


def fitted_of(trained, recipe):
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=recipe.config,
        folder=trained.folder,
    )


def test_distances_are_those_from_the_codes():
    network = build_model((2, 3, 1), rows=2, columns=2)
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 1))

    distances = network(images)["distance"]

    codes = keras.ops.convert_to_numpy(network.get_layer("codebook").codes)
    expected = np.linalg.norm(images.reshape(5, 1, 6) / 255 - codes, axis=-1)
    np.testing.assert_allclose(distances, expected, rtol=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_distances_stay_float32(precision):
    keras.config.set_dtype_policy(precision)

    network = build_model((4, 4, 1), rows=2, columns=2)

    assert {tensor.dtype for tensor in network.outputs} == {"float32"}


def test_the_codebook_is_saved_with_its_lattice(tmp_path):
    network = build_model((4, 4, 1), rows=2, columns=3, lattice="square")
    network.save(tmp_path / "map.keras")

    codebook = keras.models.load_model(tmp_path / "map.keras", compile=False).get_layer("codebook")

    assert isinstance(codebook, Codebook)
    assert (codebook.rows, codebook.columns, codebook.lattice) == (2, 3, "square")
    np.testing.assert_array_equal(codebook.codes, network.get_layer("codebook").codes)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"rows": 0}, r"^`rows` .*greater than or equal to 1.* Received: 0$"),
        ({"columns": 0}, r"^`columns` .*greater than or equal to 1.* Received: 0$"),
        ({"rows": 1, "columns": 1}, r"^`rows` times `columns` must be 2 or more\. Received: 1$"),
    ],
)
def test_maps_without_room_are_refused(knobs, message):
    with pytest.raises(InputError, match=message):
        build_model(**knobs)


def test_bad_input_ends_in_one_sentence(capsys):
    assert cli.run(app, ["--rows", "0", "--data", "embedded"]) == 2
    assert cli.run(app, ["--rows", "1", "--columns", "1", "--data", "embedded"]) == 2

    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "--rows times --columns must be 2 or more" in errors[1]


def test_a_trained_map_is_better_than_the_plane_it_began_as(trained):
    recipe = app.recipe(rows=6, columns=7)
    codebook = trained.model.codebook
    before = codebook.get_weights()
    lay_on_plane(fitted_of(trained, recipe))
    begun = trained.model.evaluate(trained.data.test, verbose=0, return_dict=True)
    codebook.set_weights(before)

    metrics = trained.metrics

    assert metrics["test_quantization_error"] < begun["quantization_error"]
    assert metrics["test_topographic_error"] < 0.5
    assert metrics["test_accuracy"] > 0.6


@pytest.mark.parametrize("update", ["batch", "online"])
@pytest.mark.parametrize("start", ["plane", "random"])
def test_maps_learn_by_either_rule_from_either_start(update, start):
    knobs = {"rows": 4, "columns": 4, "epochs": 3, "update": update, "start": start}

    trained = train(app, app.recipe(**knobs), QUIET, until="fit")

    errors = trained.history["val_quantization_error"]
    assert errors[-1] < errors[0]


def test_units_are_named_by_most_of_what_they_win(trained):
    fitted = fitted_of(trained, app.recipe())
    train_split = trained.data.splits["train"]
    [network] = trained.networks.values()
    won = winners(network, train_split)

    classes = unit_classes(fitted)

    for unit, label in enumerate(classes):
        labels = train_split.targets[won == unit]
        if label == -1:
            assert not len(labels)
        else:
            counts = np.bincount(labels, minlength=10)
            assert counts[label] == counts.max() > 0


def test_the_export_places_and_finds_neighbours(trained):
    endpoints = app.endpoints(fitted_of(trained, app.recipe()))
    images = trained.data.splits["train"].inputs[:5].astype("float32")
    [network] = trained.networks.values()
    distances = np.asarray(network(images)["distance"])

    placed = endpoints["serve"].function(images)
    on_map = endpoints["map"].function(images)["distance"]
    answer = endpoints["nearest"].function(images)

    unit = distances.argmin(axis=1)
    np.testing.assert_array_equal(placed["row"], unit // 7)
    np.testing.assert_array_equal(placed["column"], unit % 7)
    np.testing.assert_allclose(placed["distance"], distances.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(on_map, distances.reshape(5, 6, 7), rtol=1e-5)
    np.testing.assert_array_equal(answer["index"][:, 0], np.arange(5))
    np.testing.assert_array_equal(answer["picture"][:, 0], images)


def test_commands_place_a_picture_and_draw_its_neighbours(trained, capsys, tmp_path):
    picture, target = trained.data.splits["test"].inputs[0], tmp_path / "nearest.png"
    PIL.Image.fromarray(picture[..., 0]).save("digit.png")
    exports = ["--export-dir", str(trained.saved_model.parents[1])]

    assert cli.run(app, ["place", "digit.png", *exports]) == 0
    assert cli.run(app, ["nearest", "digit.png", "--output", str(target), *exports]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digit.png: row ")
    assert len(lines) == 10 and lines[1].startswith("training picture ")
    with PIL.Image.open(target) as drawing:
        assert drawing.size == (9 * 28, 28)


def test_pictures_without_labels_have_no_names_and_no_accuracy():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype("uint8")
    source = Source(name="arrays", train=Examples(images))
    run = dataclasses.replace(QUIET, data="arrays", arrays=source)

    result = train(app, app.recipe(rows=2, columns=2, epochs=2, layout="photo"), run, until="judge")

    assert result.metrics["test_accuracy"] is None
    endpoints = app.endpoints(fitted_of(result, app.recipe()))
    assert set(endpoints["serve"].function(images.astype("float32"))) == {
        "row",
        "column",
        "distance",
    }


@pytest.mark.parametrize(("lattice", "corners"), [("hexagonal", 6), ("square", 4)])
def test_units_are_drawn_as_tiles_without_gaps(lattice, corners):
    from matplotlib.figure import Figure

    codebook = build_model((2, 2, 1), rows=3, columns=4, lattice=lattice).get_layer("codebook")

    tiles = draw_units(Figure().subplots(), codebook, np.arange(12.0), ["a"] * 12)

    paths = tiles.get_paths()
    assert len(paths) == 12
    first = np.unique(paths[0].vertices.round(6), axis=0)
    second = np.unique(paths[1].vertices.round(6), axis=0)
    assert len(first) == corners
    # Two units beside each other share an edge, which has two ends.
    assert len({tuple(v) for v in first} & {tuple(v) for v in second}) == 2
