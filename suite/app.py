"""The contract between the suite and an application, and how applications are found."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras

from suite.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from suite.data.examples import Data
    from suite.export.saved_model import Endpoint

Metrics = dict[str, float]
Recipe = tuple[Any, dict[str, Any]]


def no_callbacks(
    model: keras.Model, config: Any, data: "Data", folder: Path
) -> list[keras.callbacks.Callback]:
    """The callbacks of an app that needs none of its own."""
    return []


def serve_only(model: keras.Model) -> dict[str, keras.Model]:
    """The endpoints of an app whose model is served just as it was built."""
    return {"serve": model}


def first_of_test(model: keras.Model, data: "Data") -> "np.ndarray":
    """A few inputs of the test split."""
    test: Any = data.test
    inputs, *_ = next(test.as_numpy_iterator())
    return inputs[:64]


def evaluate_on_test(model: keras.Model, data: "Data", config: Any) -> Metrics:
    """The compiled loss and metrics on the test split, named `test_<metric>`."""
    logs = model.evaluate(data.test, verbose=0, return_dict=True)
    return {f"test_{name}": float(value) for name, value in logs.items()}


def no_findings(model: keras.Model) -> dict[str, Any]:
    """The findings of an app of which the metrics say all."""
    return {}


def no_figures(model: keras.Model, data: "Data", config: Any) -> dict[str, "Figure"]:
    """The figures of an app that draws nothing beyond the learning curves."""
    return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class App:
    """One application: a frozen record of plain functions.

    A variant is `dataclasses.replace(app, data=...)`; a test swaps one field for a fake.

    Args:
        name: The module's name, and the folder under `saved_models/` and `runs/`.
        config: A frozen dataclass of the training recipe, made by `suite.settings`: every field
            typed, defaulted and documented under `Args:` in the class docstring.
        data: `data(config, run) -> Data`. Touches nothing before it is called.
        build: `build(...) -> keras.Model`, pure, functional, and working with no arguments.
            What the data decides (`input_shape`, `num_classes`) comes first, as ordinary
            parameters, and is filled from `Data.model_arguments`; the knobs of the architecture
            are keyword-only and become flags. `suite.checked` holds callers to its types.
        compile: `compile(model, config, steps) -> keras.Model`, compiled for a training of
            `steps` optimizer steps; may wrap the model in a subclass with its own step.
        callbacks: `callbacks(model, config, data, folder)`: what is special to this app; may
            write to the run's folder, and add to the logs of an epoch. The standard bundle comes
            from the suite.
        endpoints: `endpoints(model)`: the signatures of the export, a model each, or an
            `Endpoint` where the inputs are no batches. Inputs and outputs keep their names.
        example: `example(model, data)`: a batch for the endpoint `serve`, by which the export is
            checked and a server warmed up.
        evaluate: `evaluate(model, data, config)`: the headline metrics on the test split.
        findings: `findings(model)`: what else the report and the export should say of the trained
            model, by name: a certificate, say.
        figures: `figures(model, data, config)`: pictures by file name.
        commands: What else the command line offers (`predict`), by name.
        try_next: What to type after the app's name once there is an export.
        recipes: Named sets of knobs, of `config` and of `build` alike, chosen by `--recipe`.
        monitor: The validation metric that chooses the epoch to keep; None keeps the last.
        monitor_mode: Whether less or more of it is better; of its own metrics Keras knows.
    """

    name: str
    config: type
    data: Callable[..., "Data"]
    build: Callable[..., keras.Model]
    compile: Callable[[keras.Model, Any, int], keras.Model]
    callbacks: Callable[..., Sequence[keras.callbacks.Callback]] = no_callbacks
    endpoints: Callable[[keras.Model], Mapping[str, "keras.Model | Endpoint"]] = serve_only
    example: Callable[[keras.Model, "Data"], "np.ndarray"] = first_of_test
    evaluate: Callable[[keras.Model, "Data", Any], Metrics] = evaluate_on_test
    findings: Callable[[keras.Model], Mapping[str, Any]] = no_findings
    figures: Callable[[keras.Model, "Data", Any], Mapping[str, "Figure"]] = no_figures
    commands: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    try_next: str = "evaluate"
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    monitor: str | None = None
    monitor_mode: Literal["min", "max", "auto"] = "auto"

    def architecture_knobs(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters of `build`, by name."""
        parameters = inspect.signature(self.build).parameters
        return {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def recipe(self, name: str) -> Recipe:
        """The `(config, architecture)` of a named recipe.

        Raises:
            InputError: There is no recipe of that name.
        """
        if name not in self.recipes:
            known = ", ".join(self.recipes) or "none"
            raise InputError(f"`recipe` must be one of: {known}. Received: {name}")
        knobs = self.recipes[name]
        fields = {field.name for field in dataclasses.fields(self.config)}
        config = self.config(**{k: v for k, v in knobs.items() if k in fields})
        return config, {k: v for k, v in knobs.items() if k not in fields}

    def recorded(self, config: Any) -> Any:
        """The recipe that a run or an export has written down.

        Raises:
            TypeError: It is no object.
            ValueError: It is not one of this version of the application.
        """
        given = {**config}
        wanted = {field.name for field in dataclasses.fields(self.config)}
        if odd := sorted(given.keys() ^ wanted):
            raise ValueError(f"the knobs must be those of {self.name}. Received: {', '.join(odd)}")
        return self.config(**given)


def app_names(package: str = "apps") -> list[str]:
    """The applications of a package: its public modules. Imports none of them."""
    folders = importlib.import_module(package).__path__
    names = (module.name for module in pkgutil.iter_modules(folders))
    return sorted(name for name in names if not name.startswith("_"))


def load_app(name: str, package: str = "apps") -> App:
    """The `app` of the module `<package>.<name>`."""
    return importlib.import_module(f"{package}.{name}").app
