import re

import pytest

from apps.alexnet import app as alexnet
from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from apps.regression import app as regression
from suite import InputError
from suite.app import app_names, load_app
from suite.studies.spaces import Choices, Range, search_spaces
from tests.suite.small import app, variant


def spaces(searched, *entries, **fixed):
    return search_spaces(searched, searched.recipe(**fixed), fixed.keys(), entries)


def texts(searched, *entries, **fixed):
    return {name: str(space) for name, space in spaces(searched, *entries, **fixed).items()}


def test_types_say_what_is_searched():
    assert texts(app) == {
        "learning_rate": "0.005..0.5",
        "units": "1..16",
        "dropout": "0.0..0.5",
    }
    assert texts(iris, noise=0.5) == {
        "learning_rate": "0.003..0.3",
        "weight_decay": "0.2..20.0",
        "units": "16..256",
        "activation": "relu,leaky_relu,elu,selu,gelu,silu,softplus,softsign,tanh,sigmoid",
    }
    assert texts(regression, "mean_weight") == {"mean_weight": "0.25..1.0"}  # its range ends at 1
    assert texts(alexnet, "towers") == {"towers": "1..2"}


@pytest.mark.parametrize("name", app_names())
def test_every_app_can_be_searched(name):
    searched = load_app(name)
    names = set(spaces(searched))

    if searched.search:
        assert names <= set(searched.search)
    else:
        assert "learning_rate" in names or "learning_rate" not in vars(searched.config())
    assert names


def test_spaces_lie_around_the_values_of_the_recipe():
    wide = search_spaces(app, app.recipe("wide"), (), ())

    assert str(wide["units"]) == "2..32"
    assert str(wide["learning_rate"]) == "0.002..0.2"


def test_the_app_says_what_is_searched():
    narrow = variant(app, search={"units": "2..8", "dropout": "0,0.5"})

    assert texts(narrow) == {"units": "2..8", "dropout": "0,0.5"}
    assert texts(narrow, dropout=0.1) == {"units": "2..8"}
    assert texts(narrow, "learning_rate") == {"learning_rate": "0.005..0.5"}


def test_entries_become_spaces_of_the_types_of_the_knobs():
    parsed = spaces(
        iris, "learning-rate=1e-4..1e-1", "units=16..256", "activation=relu, tanh", "noise=0.5..0.9"
    )

    assert parsed == {
        "learning_rate": Range(low=1e-4, high=1e-1, whole=False),
        "units": Range(low=16, high=256, whole=True),
        "activation": Choices({"relu": "relu", "tanh": "tanh"}),
        "noise": Range(low=0.5, high=0.9, whole=False),
    }
    assert [space.log for space in parsed.values() if isinstance(space, Range)] == [
        True,
        True,
        False,
    ]


def test_choices_are_values_of_the_knob():
    parsed = spaces(mnist_cnn, "filters=16 32,24 48 96", "flip=true,false", "batch_size=60,120")

    assert [list(space.values.values()) for space in parsed.values()] == [
        [(16, 32), (24, 48, 96)],
        [True, False],
        [60, 120],
    ]


def test_numbers_are_short_and_stay_in_their_range():
    [space] = spaces(app, "learning_rate=0.0012345..0.1").values()

    assert space.value(0.0567891) == 0.0568
    assert space.value(0.0012345) == 0.0012345  # rounded it would be outside
    assert spaces(app, "units=1..60000")["units"].value(54321) == 54321


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("learning_rates=1..2", "must name a knob, such as learning_rate"),
        ("xyz=1..2", "must name a knob, such as batch_size, dropout, epochs, learning_rate, units"),
        ("seed=1,2", "must name a knob, such as"),
        ("units=16..2", "must have the smaller end first: name=low..high. Received: units=16..2"),
        ("units=4..4", "must leave more than one value"),
        ("units=4", "must leave more than one value"),
        ("units=4,4", "must leave more than one value"),
        ("units=", "must be name=low..high, name=a,b,c or name. Received: units="),
        ("units=2,,4", "must be name=low..high, name=a,b,c or name"),
        ("units=2..", "must have both ends"),
        ("units=..", "must have both ends"),
        ("dropout", "must not name what is set already: `dropout`"),
    ],
)
def test_a_space_that_is_none_is_refused(entry, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        spaces(app, entry, dropout=0.1)

    assert str(caught.value).startswith("`knob` ")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("units=0..8", "`units` should be greater than or equal to 1. Received: 0"),
        ("units=few..8", "`units` should be a valid integer"),
        ("learning_rate=0.1,100", "`learning_rate` should be less than or equal to 10"),
        ("activation=relu,tan", "`activation` must be one of: relu, "),
        ("activation=relu..tanh", "`knob` must list values of `activation`"),
    ],
)
def test_values_that_the_knob_refuses_are_refused(entry, message):
    with pytest.raises(InputError, match=re.escape(message)):
        spaces(iris, entry)


def test_a_knob_is_searched_in_one_space():
    with pytest.raises(InputError, match=r"must name every knob once. Received: units=1,2"):
        spaces(app, "units=2..8", "units=1,2")


def test_a_type_without_a_usual_space_needs_one():
    with pytest.raises(InputError, match=r"must say where to search.* Received: filters"):
        spaces(mnist_cnn, "filters")


def test_what_is_all_set_cannot_be_searched():
    with pytest.raises(InputError, match="must say what to search"):
        spaces(app, units=4, dropout=0.1, learning_rate=0.1)


def test_what_is_off_is_not_searched():
    assert "weight_decay" in search_spaces(iris, iris.recipe(), (), ())
    assert "weight_decay" not in search_spaces(iris, iris.recipe(weight_decay=0.0), (), ())
