"""The study `see`: what the filters of a classifier's convolutions respond to."""

from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from pydantic import Field

from suite.app import App
from suite.errors import InputError
from suite.explanations.feature_visualization import convolutions, excitement_of, exciting_inputs
from suite.export.exported import Exports
from suite.export.reopened import reopen
from suite.figures import curves
from suite.figures.visualization import filter_inputs
from suite.knobs import settings
from suite.training.record import refuse_unwritable

NUM_PICTURES = 6  # of the test split, for each filter


@Parameter(name="*")
@settings
class View:
    """What is looked at.

    Args:
        layer: Name of a convolution. Defaults to all of them.
        filters: How many filters of a convolution to look at.
        first: Number of the first of them, from 0; convolutions with fewer filters are left out.
        output: Folder that gets a figure for each convolution.
    """

    layer: str | None = None
    filters: Annotated[int, Field(ge=1, le=64)] = 8
    first: Annotated[int, Field(ge=0)] = 0
    output: Path = Path("see")


def see(
    app: App,
    *,
    view: View = View(),  # noqa: B008
    exports: Exports = Exports(),
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Draw what excites the filters of each convolution most: made inputs, and test pictures.

    Args:
        data: Where the test split comes from, as in training. Defaults to where the export's did.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
    """
    refuse_unwritable(view.output, "output")
    fitted = reopen(app, exports.open(app.name), data, data_dir)
    [network] = fitted.networks.values()
    names = convolutions(network)
    if not names:
        raise InputError("the network must have convolutions", app.name)
    if view.layer is not None:
        if view.layer not in names:
            raise InputError(f"`layer` must be one of: {', '.join(names)}", view.layer)
        names = [view.layer]
    num_filters = {name: network.get_layer(name).output.shape[-1] for name in names}
    most = max(num_filters.values())
    if view.first >= most:
        raise InputError(f"`first` must be below {most}", view.first)
    names = [name for name in names if view.first < num_filters[name]]
    test = fitted.data.splits["test"]
    shape = test.rows(np.arange(1)).in_memory().inputs.shape[1:]
    excitement = excitement_of(network, names).predict(fitted.data.one_pass("test"), verbose=0)
    drawings = {}
    for name in names:
        filters = range(view.first, min(view.first + view.filters, num_filters[name]))
        strongest = np.argsort(-excitement[name][:, filters], axis=0, kind="stable")[:NUM_PICTURES]
        drawings[name] = filter_inputs(
            filters,
            exciting_inputs(network, name, filters, shape),
            np.stack([test.rows(rows).in_memory().inputs for rows in strongest.T]),
            f"{name}: what excites its filters most",
        )
    for path in curves.save(drawings, view.output):
        print(path)
