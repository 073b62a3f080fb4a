import pytest

from suite import InputError, checked, settings
from suite.knobs import Stages, Units


@settings
class Knobs:
    """Some.

    Args:
        units: Of a layer.
    """

    units: Units = 3


@checked
def build(size: tuple[Units, Units, Units] = (1, 2, 3), *, filters: Stages = (8,)):
    return size, filters


def test_settings_are_checked_and_frozen():
    assert Knobs(units="4").units == 4
    with pytest.raises(AttributeError):
        Knobs().units = 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"units": 0}, "`units` should be greater than or equal to 1. Received: 0"),
        ({"unit": 3}, "`unit` is not known. Received: 3"),
    ],
)
def test_settings_refuse_in_one_sentence(given, message):
    with pytest.raises(InputError) as said:
        Knobs(**given)

    assert str(said.value) == message


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
    with pytest.raises(InputError) as said:
        build(*by_position, **by_name)

    assert str(said.value) == message
