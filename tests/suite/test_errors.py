import pytest
from pydantic import BaseModel, PositiveInt, ValidationError

from suite.errors import (
    Diverged,
    InputError,
    Interrupted,
    as_input_error,
    one_line_message,
    printable,
)


class Knobs(BaseModel):
    units: PositiveInt = 1
    sizes: tuple[int, int] = (1, 2)


def validation_error(**knobs):
    with pytest.raises(ValidationError) as error:
        Knobs(**knobs)
    return error.value


def test_a_requirement_is_followed_by_what_was_received():
    error = InputError("`batch_size` must be even", 3)

    assert str(error) == "`batch_size` must be even. Received: 3"
    assert (error.requirement, error.received) == ("`batch_size` must be even", 3)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("received", [None, 0, ""])
def test_what_was_received_may_be_nothing_much(received):
    assert str(InputError("it must be", received)) == f"it must be. Received: {received}"
    assert str(InputError("it must be")) == "it must be"


def test_knobs_are_spelled_as_where_they_came_from():
    error = InputError("`batch_size` and `units` must agree", "`units`")

    worded = error.worded(lambda knob: f"--{knob.replace('_', '-')}")

    assert worded == "--batch-size and --units must agree. Received: `units`"


def test_what_a_check_of_types_says_becomes_a_sentence():
    assert (
        str(as_input_error(validation_error(units=0)))
        == "`units` should be greater than 0. Received: 0"
    )
    assert isinstance(as_input_error(validation_error(units=0)), InputError)
    assert (
        one_line_message(validation_error(sizes=(1,)))
        == "`sizes` must have more than 1 items. Received: (1,)"
    )


@pytest.mark.parametrize("received", ["n" * 1000, list(range(1000))])
def test_long_values_are_not_repeated(received):
    words = one_line_message(validation_error(units=received))

    assert words.endswith(f"Received: an object of {type(received).__name__}")


def test_other_errors_are_left_as_they_are():
    for error in (ValueError("a bug"), OSError(2, "gone"), Diverged("nan")):
        assert as_input_error(error) is error


def test_a_sentence_is_one_line_that_cannot_speak_to_the_terminal():
    assert one_line_message(ValueError("one\n  two\x1b[31m")) == "one two\\x1b[31m"
    assert printable("猫 ü\u202e") == "猫 ü\\u202e"


def test_an_interruption_passes_through_handlers_of_errors():
    assert not issubclass(Interrupted, Exception)
    assert Interrupted("stopped", 2).signal_number == 2
