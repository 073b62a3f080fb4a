"""An exported model with the examples of a data source, as the hooks of its app receive them."""

import dataclasses
from pathlib import Path

from suite.app import App, Fitted, networks_of
from suite.data.examples import recorded_preparation
from suite.data.sources import data_knob_of
from suite.data.tables.cells import listed
from suite.errors import InputError, one_line_message
from suite.export.exported import ExportedModel
from suite.run import Run


def reopen(
    app: App, exported: ExportedModel, data: str | None = None, data_dir: Path | None = None
) -> Fitted:
    """Loads an exported model and examples, which are prepared as those that it was trained on.

    Args:
        app: The app of the export.
        exported: The export.
        data: Where examples come from, as in training; None for where the export's did. With it,
            knobs that are paths, such as the file of `translations`, have their defaults.
        data_dir: TFDS folder; None for `TFDS_DATA_DIR`, then for TFDS's own.

    Raises:
        InputError: The export is of another version of the app, or the examples cannot be read or
            have other classes or features.
    """
    metadata = exported.metadata()
    try:
        config = app.config_from_record(metadata["config"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"an exported model must be one of this version of {app.name}",
            f"{exported.folder}: {one_line_message(error)}",
        ) from None
    if data is not None:
        # Paths among the knobs lead to parts of the examples that the export was trained on.
        paths = {
            field.name: field.default
            for field in dataclasses.fields(config)
            if isinstance(getattr(config, field.name), Path)
        }
        config = dataclasses.replace(config, **paths)
    in_memory = metadata.get("in_memory", "auto")
    run = Run(
        data=data or data_knob_of(metadata["source"]),
        data_dir=data_dir,
        min_per_class=metadata.get("min_per_class", 1) if data is None else 1,
        skip_broken=metadata.get("skip_broken", False),
        # The fingerprint of examples on disk is another one than that of the same in memory; other
        # data may not be such as can stay there.
        in_memory="auto" if data and in_memory == "no" else in_memory,
        preparation=recorded_preparation(metadata) or {},
    )
    examples = app.data(config, run)
    for field in ("class_names", "feature_names"):
        names, exported_names = list(getattr(examples.description, field)), metadata.get(field)
        # Classes are not missed by what learns without them; what needs them says so itself.
        needed = field != "class_names" or names
        if exported_names is not None and needed and names != exported_names:
            what = {"class_names": "classes", "feature_names": "columns"}[field]
            missing = [name for name in exported_names if name not in names]
            unknown = [name for name in names if name not in exported_names]
            raise InputError(
                f"`data` must have the {what} of {exported.folder}, in their order",
                f"{len(names)} of {len(exported_names)}; missing: {listed(missing) or 'none'}; "
                f"unknown: {listed(unknown) or 'none'}",
            )
    built = exported.built()
    return Fitted(
        model=app.compiled(app.phases(config)[-1], built, config, 1),
        networks=networks_of(built),
        data=examples,
        config=config,
        folder=exported.folder,
        learnt_from=examples.description.fingerprint == metadata.get("fingerprint"),
    )
