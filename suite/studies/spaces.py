"""Search spaces: the values that a search tries for each knob, from the types of the knobs."""

import dataclasses
import difflib
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from suite.app import App, Recipe
from suite.errors import InputError, as_input_error
from suite.knobs import LearningRate, Rate, WeightDecay

SYNTAX = "name=low..high, name=a,b,c or name"
DECADE = 10  # a range whose ends differ by this factor is searched by its logarithm
DIGITS = 3  # significant ones of a number that is tried, so that it can be typed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """All numbers from `low` to `high`; whole numbers only, if `whole`."""

    low: float
    high: float
    whole: bool

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"

    @property
    def log(self) -> bool:
        """Whether the logarithm is drawn, so that every order of magnitude is as likely."""
        return self.low > 0 and self.high >= DECADE * self.low

    def holds(self, value: Any) -> bool:
        """Whether a value is in the range."""
        return value is not None and self.low <= value <= self.high

    def value(self, number: float) -> float:
        """The number with three significant digits, still in the range; a whole one unchanged."""
        if self.whole:
            return number
        return min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values, by the text that stands for each on a command line."""

    values: Mapping[str, Any]

    def __str__(self) -> str:
        return ",".join(self.values)

    def text(self, value: Any) -> str | None:
        """The text that stands for a value; None if it is no choice."""
        return next((text for text, choice in self.values.items() if choice == value), None)

    def value(self, text: str) -> Any:
        """The value that the text stands for."""
        return self.values[text]


Space = Range | Choices


def search_spaces(
    app: App, recipe: Recipe, fixed: Collection[str], entries: Sequence[str]
) -> dict[str, Space]:
    """The space of every knob that is searched, by name.

    Args:
        app: The application. Without entries its `search` says what is searched; without that,
            all numbers and choices of the architecture, the learning rate and the weight decay are.
        recipe: The recipe around whose values spaces are made for knobs that have none.
        fixed: Knobs that the caller set, and that are not searched.
        entries: `name=low..high`, `name=a,b,c`, or `name` for the usual space of the knob's type.
            Items of a tuple are separated by spaces, as on a command line: `units=64,128 64`.

    Raises:
        InputError: A knob does not exist, is fixed, or occurs twice; a space is empty, reversed or
            out of the knob's range; or there is nothing to search.
    """
    knobs = _knobs(app, recipe)
    texts: dict[str, str | None] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        name = name.strip().replace("-", "_")
        if name not in knobs:
            near = difflib.get_close_matches(name, knobs, cutoff=0.4) or sorted(knobs)
            raise InputError(f"`knob` must name a knob, such as {', '.join(near)}", entry)
        if name in fixed:
            raise InputError(f"`knob` must not name what is set already: `{name}`", entry)
        if name in texts:
            raise InputError("`knob` must name every knob once", entry)
        texts[name] = text if equals else None
    if not entries:
        usual = app.search or dict.fromkeys(_searched_by_default(app, knobs))
        texts = {name: text for name, text in usual.items() if name not in fixed}
    if not texts:
        raise InputError(f"`knob` must say what to search, as {SYNTAX}", "nothing")
    return {name: knobs[name].space(text) for name, text in texts.items()}


def first_trial(app: App, recipe: Recipe, spaces: Mapping[str, Space]) -> dict[str, Any]:
    """What a search tries first: the recipe as it is, where its values lie in the spaces.

    Returns:
        Numbers of ranges and texts of choices, by the name of the knob.
    """
    values = {name: knob.default for name, knob in _knobs(app, recipe).items()}
    texts = {n: s.text(values[n]) for n, s in spaces.items() if isinstance(s, Choices)}
    return {
        n: values[n] for n, s in spaces.items() if isinstance(s, Range) and s.holds(values[n])
    } | {name: text for name, text in texts.items() if text is not None}


@dataclasses.dataclass(frozen=True)
class _Knob:
    """A knob of the recipe or the architecture: its type, and its value if it is not searched."""

    name: str
    annotation: Any
    default: Any

    def space(self, text: str | None) -> Space:
        """The space that a text describes; the usual one if it is None.

        Raises:
            InputError: The space is empty, reversed, or out of the knob's range.
        """
        text = self.usual() if text is None else text
        if text is None:
            raise InputError(f"`knob` must say where to search, as {SYNTAX}", self.name)
        entry = f"{self.name}={text}"
        low, dots, high = (part.strip() for part in text.partition(".."))
        if dots and _bare(self.annotation) in (int, float):
            if not low or not high:
                raise InputError("`knob` must have both ends: name=low..high", entry)
            ends = self.value(low), self.value(high)
            if ends[0] > ends[1]:
                raise InputError("`knob` must have the smaller end first: name=low..high", entry)
            if ends[0] == ends[1]:
                raise InputError("`knob` must leave more than one value", entry)
            return Range(low=ends[0], high=ends[1], whole=_bare(self.annotation) is int)
        if dots:
            raise InputError(f"`knob` must list values of `{self.name}`: name=a,b,c", entry)
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise InputError(f"`knob` must be {SYNTAX}", entry)
        values = {word: self.value(word) for word in words}
        if len(values) == 1:
            raise InputError("`knob` must leave more than one value", entry)
        return Choices(values)

    def usual(self) -> str | None:
        """The space that the type suggests, around the default; None if it suggests none.

        All values of a choice; 0 to a half for a rate; for a number a factor of 10 (learning rate,
        weight decay) or 4 up and down; a factor of 1.5, or none, where the knob's range ends
        before.
        """
        if choices := self._choices():
            return ",".join(choices) if len(choices) > 1 else None
        if self.annotation is Rate:
            return "0.0..0.5"
        if _bare(self.annotation) not in (int, float) or not self.default or self.default < 0:
            return None
        factor = DECADE if _is_one_of(self.annotation, LearningRate, WeightDecay) else 4
        low = self._nearest([1 / factor, 1 / 1.5, 1])
        high = self._nearest([factor, 1.5, 1])
        return None if low is None or high is None or low == high else f"{low}..{high}"

    def value(self, text: str) -> Any:
        """The knob's value for a text.

        Raises:
            InputError: The text is of another type, or out of range.
        """
        if choices := self._choices():
            if text not in choices:
                raise InputError(f"`{self.name}` must be one of: {', '.join(choices)}", text)
            return choices[text]
        words = text.split() if get_origin(_bare(self.annotation)) is tuple else text
        try:
            return TypeAdapter(self.annotation).validate_python(words)
        except ValidationError as error:
            raise as_input_error(error, self.name) from None

    def _choices(self) -> dict[str, Any]:
        """The values of a `Literal` or a bool by their texts; none for other types."""
        bare = _bare(self.annotation)
        if bare is bool:
            return {"true": True, "false": False}
        return {str(v): v for v in get_args(bare)} if get_origin(bare) is Literal else {}

    def _nearest(self, factors: Sequence[float]) -> str | None:
        """The default times the first factor that stays in the knob's range, as a text."""
        for factor in factors:
            number = self.default * factor
            text = str(round(number)) if _bare(self.annotation) is int else f"{number:.{DIGITS}g}"
            try:
                self.value(text)
            except InputError:
                continue
            return text
        return None


def _knobs(app: App, recipe: Recipe) -> dict[str, _Knob]:
    """The knobs of the recipe and of the architecture by name, with the recipe's values."""
    types_of_config = get_type_hints(app.config, include_extras=True)
    knobs = {
        field.name: _Knob(
            field.name, types_of_config[field.name], getattr(recipe.config, field.name)
        )
        for field in dataclasses.fields(app.config)
    }
    for name, parameter in app.architecture_knobs().items():
        default = recipe.architecture.get(name, parameter.default)
        knobs[name] = _Knob(name, parameter.annotation, default)
    return knobs


def _searched_by_default(app: App, knobs: Mapping[str, _Knob]) -> list[str]:
    """The knobs that are searched if neither the caller nor the app says which.

    Other knobs of the recipe may change the validation split, or how long a training takes, so
    that trials could not be compared.
    """
    return [
        name
        for name, knob in knobs.items()
        if (
            name in app.architecture_knobs()
            or _is_one_of(knob.annotation, LearningRate, WeightDecay)
        )
        and knob.usual() is not None
    ]


def _bare(annotation: Any) -> Any:
    """A type without its range, and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _is_one_of(annotation: Any, *knob_types: Any) -> bool:
    """Whether a type is one of `suite.knobs`; two of them may have the same range."""
    return any(annotation is knob_type for knob_type in knob_types)
