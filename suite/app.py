"""The contract between the suite and an application, and how applications are found."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from suite.errors import InputError

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from suite.data.pipelines import Data
    from suite.export.endpoints import Endpoint

# What a builder returns: a keras.Model, or networks by name, Mapping[str, keras.Model].
Built = Any
# Values by name: a number; a mapping for a table, such as one number for each class; or None for a
# metric that is not available.
Metrics = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The knobs of a training: how to train, and what to build.

    Args:
        config: How to train: an instance of the app's `config`.
        architecture: Keyword arguments of the app's builder.
        given: Names of the knobs that the caller set, even to their defaults. A resumed training
            refuses values of these that differ from the ones it began with.
    """

    config: Any
    architecture: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    given: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What an app's hooks receive: the compiled model, its networks, the data and the folder.

    `callbacks` and `Phase.begin` get it before the training; `endpoints` and `example` before
    it, to be tried, unless it ends before the export, and after it; `evaluate`, `findings` and
    `figures` after it.

    Args:
        model: The compiled model that `fit` trains.
        networks: The networks that the builder made, by name.
        data: The examples to train and evaluate on.
        config: The settings of the training, an instance of the app's `config`.
        folder: The run's folder; when `endpoints` and `example` are tried, there is none yet, and
            this is the current folder.
        learnt_from: Whether the networks have learnt from the training examples of `data`; they
            have not if an export is evaluated on other data.
    """

    model: "keras.Model"
    networks: Mapping[str, "keras.Model"]
    data: "Data"
    config: Any
    folder: Path
    learnt_from: bool = True
    _outputs: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def outputs(self, split: str = "test") -> Any:
        """The model's outputs on a split as arrays, computed on the first call only."""
        if split not in self._outputs:
            self._outputs[split] = self.model.predict(self.data.one_pass(split), verbose=0)
        return self._outputs[split]

    def with_model(self, model: "keras.Model", **compilation: Any) -> "Fitted":
        """A copy of this record with another model, whose outputs are computed anew.

        Args:
            model: The model, which is compiled here.
            compilation: Arguments of its `compile`, such as `loss` and `metrics`.
        """
        model.compile(jit_compile=self.model.jit_compile, **compilation)
        return dataclasses.replace(self, model=model, _outputs={})

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Calls `compute` on the first call with this name, and returns its result in every call.

        Args:
            name: Not the name of a split, under which `outputs` keeps its results.
            compute: Computes what is kept.
        """
        if name not in self._outputs:
            self._outputs[name] = compute()
        return self._outputs[name]


class Objective(NamedTuple):
    """A loss as a function of weights, with all else fixed: examples, rollouts, latents.

    A model with a `train_step` of its own has a method `objectives(batch)`, which returns what a
    step lowers, by name. The gradient check compares each with its gradient. Noise that layers draw
    need not be fixed, since the check sets the states of their seeds back.

    Args:
        loss: `loss()` computes it, a scalar, with the present weights.
        variables: The weights that learn from it.
    """

    loss: Callable[[], Any]
    variables: Sequence["keras.Variable"]

    @classmethod
    def of(cls, model: "keras.Model", examples: Any) -> "Objective":
        """The objective of Keras's own training step: `compute_loss` on the model's outputs.

        Args:
            model: The compiled model.
            examples: `(inputs, targets, sample_weights)`, or the first of these.
        """
        import keras

        def in_floatx(part: Any) -> Any:
            part = keras.ops.convert_to_tensor(part)
            is_float = keras.backend.is_float_dtype(part.dtype)
            return keras.ops.cast(part, keras.config.floatx()) if is_float else part

        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(
            keras.tree.map_structure(lambda p: p if p is None else in_floatx(p), examples)
        )

        def loss() -> Any:
            outputs = model(inputs, training=True)
            return model.compute_loss(inputs, targets, outputs, weights, training=True)

        return cls(loss, model.trainable_variables)


def no_callbacks(fitted: Fitted) -> Sequence["keras.callbacks.Callback"]:
    """The callbacks of an app, or of a phase, that needs only the standard ones."""
    return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a training with an objective of its own, such as pretraining or fine-tuning.

    Args:
        name: Unique within the training.
        epochs: Number of epochs of `fit`; 0 if `begin` does all the work, for example by a
            solution in closed form.
        compile: `compile(built, config, steps) -> keras.Model`; by default the app's.
        begin: `begin(fitted)` runs once before the first step, for example to set weights.
        features: `features(networks)` is a part of the networks that the phase does not train. Its
            outputs on the training and validation examples are computed once, without augmentation,
            and take the place of the inputs.
        callbacks: `callbacks(fitted)` are those without which the phase does not learn what it is
            meant to, and which a cross-validation has as well. Those that watch a training, draw,
            or measure belong to the app's `callbacks`, of which a cross-validation takes the
            average of the weights alone, unless the app keeps its best epoch.
    """

    name: str
    epochs: int = 0
    compile: Callable[[Built, Any, int], "keras.Model"] | None = None
    begin: Callable[[Fitted], None] | None = None
    features: Callable[[Mapping[str, "keras.Model"]], "keras.Model"] | None = None
    callbacks: Callable[[Fitted], Sequence["keras.callbacks.Callback"]] = no_callbacks


def one_phase(config: Any) -> Sequence[Phase]:
    """The phases of an app that compiles once and fits once, for `config.epochs` epochs."""
    return [Phase(name="fit", epochs=config.epochs)]


def serve_networks(fitted: Fitted) -> dict[str, "keras.Model"]:
    """The endpoints of an app that serves its networks: the first one as `serve`."""
    first, *others = fitted.networks.items()
    return {"serve": first[1], **dict(others)}


def first_of_test(fitted: Fitted, most: int = 64) -> Any:
    """The inputs of the first examples of the test split, at most as many as this."""
    import numpy as np

    test = fitted.data.splits["test"]
    return test.rows(np.arange(min(most, test.num_examples))).in_memory().inputs


def evaluate_on_test(fitted: Fitted) -> Metrics:
    """The compiled loss and metrics on the test split, named `test_<metric>`."""
    logs = fitted.model.evaluate(fitted.data.test, verbose=0, return_dict=True)
    return {f"test_{name}": float(value) for name, value in logs.items()}


def no_compilation(model: Built, config: Any, steps: int) -> "keras.Model":
    """The model of an app that is not trained by steps of an optimizer."""
    return model


def no_findings(fitted: Fitted) -> dict[str, Any]:
    """The findings of an app whose metrics say everything."""
    return {}


def no_figures(fitted: Fitted) -> dict[str, "Figure"]:
    """The figures of an app that draws nothing beyond the learning curves."""
    return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class App:
    """One application: a frozen record of plain functions.

    A variant is `dataclasses.replace(app, data=...)`; a test swaps one field for a fake.

    Args:
        name: The module's name, and the folder under `saved_models/` and `runs/`.
        topic: The group under which `python -m apps` lists it: `images`, `tables`, `sequences`,
            `generative`, `unsupervised`, `control`.
        summary: What it does, in a title and a paragraph: the module's docstring.
        config: The class of the settings of the training, a frozen dataclass made by
            `suite.settings`: every field typed, defaulted and documented under `Args:` in the
            class docstring.
        data: `data(config, run) -> Data` loads the examples, from where `run.data` says.
        build: `build(...) -> keras.Model`, or a mapping of named networks; pure, functional, and
            working with no arguments. What the data decides (`input_shape`, `num_classes`) comes
            first, as ordinary parameters, and is filled from `Data.model_arguments`; the knobs of
            the architecture are keyword-only and become flags. `suite.checked` holds callers to
            its types. It raises `InputError` for values that do not fit together.
        compile: `compile(built, config, steps) -> keras.Model`, compiled for a training of
            `steps` optimizer steps; may wrap the networks in a model with a `train_step` of its
            own.
        phases: `phases(config) -> Sequence[Phase]`, the parts of the training in order; by default
            one of `config.epochs` epochs.
        callbacks: `callbacks(fitted) -> Sequence[keras.callbacks.Callback]`, in addition to the
            suite's own; they may write to the run's folder, and add to the logs of an epoch. By
            default none.
        endpoints: `endpoints(fitted)` returns the signatures of the export by name, each a model
            or an `Endpoint`; the first is called `serve`. Inputs and outputs keep their names. By
            default the networks, the first one as `serve`.
        example: `example(fitted)` returns a batch of inputs for `serve`, an array or arrays by
            name. The export is checked with it, and a server is warmed up with its first row. By
            default the first examples of the test split.
        evaluate: `evaluate(fitted) -> Metrics`, the metrics on the test split by name; by default
            the compiled ones, as `test_<metric>`.
        findings: `findings(fitted)` returns facts about the trained model by name, which JSON can
            hold, for the report and the export, in addition to the metrics. By default none.
        figures: `figures(fitted)` returns Matplotlib figures by file name, without the extension,
            in addition to the learning curves. By default none.
        commands: Further commands of the command line, by name: `command(app, ...)`, whose other
            parameters are the arguments and flags of the command line.
        studies: Names of the studies that fit the app, such as `explain`; `suite.studies` has
            them, and each becomes a command, too.
        search: The spaces of `search` if the caller names none, `low..high` or `a,b,c` by the name
            of the knob. By default those that the types of the architecture, the learning rate and
            the weight decay suggest.
        try_next: A command to suggest after an export, as typed after the app's name; or a function
            that makes it of the content of `report.json`.
        recipes: Named sets of knobs, of `config` and of `build` alike, chosen by `recipe`.
        objective: The validation metric that compares recipes, and epochs if `keep_best`; of a
            model that is not compiled `val_x` is the `test_x` of `evaluate`, on the validation
            split.
        objective_mode: Whether a smaller or a larger objective is better; `auto` leaves the
            decision to Keras, which knows its metrics.
        keep_best: Whether the weights of the epoch with the best objective (of equal ones, the
            last) are kept, rather than those of the last epoch.
        data_layouts: A sentence on the layouts of files that `data` reads.
        tiny: Knobs of a training in a few seconds, of at most 100,000 parameters, for tests.
    """

    name: str
    topic: str
    summary: str | None = None
    config: type
    data: Callable[..., "Data"]
    build: Callable[..., Built]
    compile: Callable[[Built, Any, int], "keras.Model"]
    phases: Callable[[Any], Sequence[Phase]] = one_phase
    callbacks: Callable[[Fitted], Sequence["keras.callbacks.Callback"]] = no_callbacks
    endpoints: Callable[[Fitted], Mapping[str, "keras.Model | Endpoint"]] = serve_networks
    example: Callable[[Fitted], Any] = first_of_test
    evaluate: Callable[[Fitted], Metrics] = evaluate_on_test
    findings: Callable[[Fitted], Mapping[str, Any]] = no_findings
    figures: Callable[[Fitted], Mapping[str, "Figure"]] = no_figures
    commands: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    studies: Sequence[str] = ()
    search: Mapping[str, str] = dataclasses.field(default_factory=dict)
    try_next: str | Callable[[Mapping[str, Any]], str] = "evaluate"
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    objective: str = "val_loss"
    objective_mode: Literal["min", "max", "auto"] = "auto"
    keep_best: bool = False
    data_layouts: str = "This application makes its own data."
    tiny: Mapping[str, Any]

    def architecture_knobs(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters of `build`, by name."""
        parameters = inspect.signature(inspect.unwrap(self.build)).parameters
        return {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def recipe(self, name: str | None = None, **knobs: Any) -> Recipe:
        """A recipe by its name, or the default one, with some knobs changed.

        Args:
            name: One of `recipes`.
            knobs: Of `config` and of `build` alike.

        Raises:
            InputError: There is no recipe of that name, or no such knob, or a value is out of
                range.
        """
        if name is not None and name not in self.recipes:
            raise InputError(
                f"`recipe` must be one of: {', '.join(self.recipes) or 'none'}", received=name
            )
        chosen = {**(self.recipes[name] if name else {}), **knobs}
        architecture = {n: chosen.pop(n) for n in self.architecture_knobs() if n in chosen}
        return Recipe(
            config=self.config(**chosen),
            architecture=architecture,
            given=frozenset({*chosen, *architecture}),
        )

    def compiled(self, phase: Phase, built: Built, config: Any, steps: int) -> "keras.Model":
        """The compiled model of a phase, without XLA, which Keras would choose on a GPU.

        Args:
            phase: A phase of this app.
            built: What the builder returned.
            config: The settings of the training.
            steps: Steps of the phase.
        """
        import keras

        model = (phase.compile or self.compile)(built, config, steps)
        if type(model).call is keras.Model.call:
            # Keras builds a model when it calls it; one whose `train_step` calls only its networks
            # would never be built.
            model.built = True
        model.jit_compile = False
        return model

    def config_from_record(self, config: Any) -> Any:
        """Makes the settings of the training from the JSON of a run or an export.

        Raises:
            TypeError: The JSON is not an object.
            InputError: A knob is missing, unknown or out of range in this version of the app.
        """
        values = {**config}
        knobs = {field.name for field in dataclasses.fields(self.config)}
        missing, unknown = sorted(knobs - values.keys()), sorted(values.keys() - knobs)
        differences = [f"without {', '.join(missing)}"] if missing else []
        differences += [f"with the unknown {', '.join(unknown)}"] if unknown else []
        if differences:
            raise InputError(
                f"the settings must be those of this version of {self.name}",
                "; ".join(differences),
            )
        return self.config(**values)


def networks_of(built: Built) -> dict[str, "keras.Model"]:
    """The networks that a builder made, by name; a single model has its own name."""
    return dict(built) if isinstance(built, Mapping) else {built.name: built}


def app_names(package: str = "apps") -> list[str]:
    """The applications of a package: its public modules. Imports none of them."""
    folders = importlib.import_module(package).__path__
    names = (module.name for module in pkgutil.iter_modules(folders))
    return sorted(name for name in names if not name.startswith("_"))


def load_app(name: str, package: str = "apps") -> App:
    """The `app` of the module `<package>.<name>`."""
    return importlib.import_module(f"{package}.{name}").app
