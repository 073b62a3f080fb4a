"""How and where a training runs: the settings that all apps share."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field

from suite.knobs import InMemory, Seed, settings

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]


@settings
class Run:
    """How and where a training runs. All apps share these settings.

    Args:
        data: Where examples come from: `auto` takes prepared TFDS data, else a download, else
            the embedded set; `tfds`; `embedded`; or the path of your own data.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
        in_memory: Whether examples are kept in memory; `auto` does so up to 2 GiB.
        min_per_class: Classes with fewer examples are left out.
        skip_broken: Leave out files of pictures or text that cannot be read.
        seed: Decides initial weights, data order, augmentation and dropout.
        deterministic: Same weights, bit for bit, in every run of a seed; some kernels are slower.
        run_dir: Folder for logs, checkpoints, figures and report. Defaults to
            `runs/<app>/<time>`.
        resume: Go on from the last saved state of `run_dir`, or of the app's newest run.
        save_minutes: Longest time between two saved states within an epoch, in minutes; a state is
            also saved after each epoch.
        strategy: Placement: `mirrored` over the devices of this host, `multi_worker` over the
            hosts of a cluster, `tpu`, or `one_device`; `auto` uses what is available.
        precision: Dtype policy of the layers.
        jit: Compile the training step with XLA.
        fused: Train batch normalisation by TensorFlow's fused kernel, if it supports the layer.
        figures: Draw figures of the trained model.
        export_dir: Folder that gets `<app>/<version>/`, a SavedModel each time.
        quiet: Print warnings and the final answer only.
        preparation: The preparation recorded in an export, as a dict; set by `evaluate`, so that
            examples are prepared as those that the model was trained on. None if the data decide.
        arrays: Examples in memory, a `suite.data.Source`; set by the `data` of `suite.train`.
    """

    data: str = "auto"
    data_dir: Path | None = None
    in_memory: InMemory = "auto"
    min_per_class: Annotated[int, Field(ge=1)] = 1
    skip_broken: bool = False
    seed: Seed = 0
    deterministic: bool = False
    run_dir: Path | None = None
    resume: bool = False
    save_minutes: Annotated[float, Field(gt=0)] = 10.0
    strategy: StrategyName = "auto"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit: bool = False
    fused: bool = True
    figures: bool = True
    export_dir: Path = Path("saved_models")
    quiet: bool = False
    preparation: Annotated[Any, Parameter(parse=False, show=False)] = None
    arrays: Annotated[Any, Parameter(parse=False, show=False)] = None
