import dataclasses
import inspect

import docstring_parser
import pytest

from suite import InputError, checked, settings
from suite.knobs import Stages, Units


@settings
class Knobs:
    """Some knobs.

    Args:
        units: Of a layer.
    """

    units: Units = 3


@checked
def build(size: tuple[Units, Units, Units] = (1, 2, 3), *, filters: Stages = (8,)):
    return size, filters


def test_help_shows_plain_types():
    assert str(inspect.signature(build)) == (
        "(size: tuple[int, int, int] = (1, 2, 3), *, filters: tuple[int, ...] = (8,))"
    )


def test_settings_are_checked_and_frozen():
    assert Knobs(units="4").units == 4
    with pytest.raises(AttributeError):
        Knobs().units = 5


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"units": 0}, "`units` should be greater than or equal to 1. Received: 0"),
        ({"unit": 3}, "`unit` is not known. Received: 3"),
    ],
)
def test_settings_refuse_in_one_sentence(knobs, message):
    with pytest.raises(InputError) as caught:
        Knobs(**knobs)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("by_position", "by_name", "message"),
    [
        ([(28, 28)], {}, "`size` must have more than 2 items. Received: (28, 28)"),
        ([], {"size": (4, 4)}, "`size` must have more than 2 items. Received: (4, 4)"),
        ([(1, 2, 3, 4)], {}, "`size` must have at most 3 items, not 4. Received: (1, 2, 3, 4)"),
        ([28], {}, "`size` should be a valid tuple. Received: 28"),
        ([], {"filters": ()}, "`filters` must have at least 1 item, not 0. Received: ()"),
        ([], {"filter": (8,)}, "`filter` is not known. Received: (8,)"),
        ([(1, 2, 3), (8,)], {}, "`value` must be given by its name. Received: (8,)"),
        ([], {"filters": (0,)}, "`filters` should be greater than or equal to 1. Received: 0"),
    ],
)
def test_builders_refuse_in_one_sentence(by_position, by_name, message):
    with pytest.raises(InputError) as caught:
        build(*by_position, **by_name)

    assert str(caught.value) == message


@settings
class MoreKnobs(Knobs):
    """More knobs.

    Args:
        rate: Of dropout, with a description
            that goes on in a second line.
    """

    rate: float = 0.5


@settings
class OtherUnits(Knobs):
    """Others.

    Args:
        units: Of another layer.
    """

    units: Units = 5


@settings
class NoMore(Knobs):
    """None."""


@settings
class Undocumented(Knobs):
    pass


@pytest.mark.parametrize(
    ("knobs", "documented"),
    [
        (
            MoreKnobs,
            {"rate": "Of dropout, with a description that goes on in", "units": "Of a layer."},
        ),
        (OtherUnits, {"units": "Of another layer."}),
        (NoMore, {"units": "Of a layer."}),
        (Undocumented, {"units": "Of a layer."}),
    ],
)
def test_a_base_s_documentation_is_passed_on(knobs, documented):
    text = docstring_parser.parse(inspect.getdoc(knobs))

    descriptions = {p.arg_name: " ".join(p.description.split()) for p in text.params}
    assert descriptions.keys() == documented.keys()
    for name, words in documented.items():
        assert descriptions[name].startswith(words)
    fields = {field.name for field in dataclasses.fields(knobs)}
    assert fields == documented.keys()


def test_a_class_keeps_its_summary():
    assert docstring_parser.parse(inspect.getdoc(MoreKnobs)).short_description == "More knobs."
    assert docstring_parser.parse(inspect.getdoc(NoMore)).short_description == "None."


def test_a_fault_of_a_builder_is_no_bad_input():
    @checked
    def broken(*, units: Units = 3):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as fault:
        broken(units=4)

    assert not isinstance(fault.value, InputError)


def test_a_builder_keeps_its_signature_and_docstring():
    assert list(inspect.signature(build).parameters) == ["size", "filters"]
    assert build((4, 5, 6), filters=[3]) == ((4, 5, 6), (3,))
