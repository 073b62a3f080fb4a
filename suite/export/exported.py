"""Exported versions: finding them, reading their metadata and networks, calling them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from cyclopts import Parameter
from pydantic import PositiveInt

from suite.errors import InputError
from suite.export.endpoints import call
from suite.export.loading import load_saved_model
from suite.export.refusals import refusal
from suite.export.versions import CHECKSUMS, METADATA, network_file, versions
from suite.files import refuse_damage
from suite.knobs import settings

REQUIRED = {"app": str, "config": dict, "source": str, "metrics": dict}  # in every metadata.json
# What TensorFlow and Keras raise on reading a file that is cut off or changed.
DAMAGE = (OSError, LookupError, ValueError, TypeError, zipfile.BadZipFile, tf.errors.OpError)


@Parameter(name="*")
@settings
class Exports:
    """The exported version that a command uses.

    Args:
        export_dir: Folder that holds `<app>/<version>/`.
        version: Version to use. Defaults to the newest.
    """

    export_dir: Path = Path("saved_models")
    version: PositiveInt | None = None

    def open(self, app_name: str) -> "ExportedModel":
        """The chosen version of an app, after a check of its files by their checksums.

        Raises:
            InputError: There is no such version, or it is damaged.
        """
        parent = self.export_dir / app_name
        numbers = versions(parent)
        if not numbers:
            raise InputError(
                f"an exported model is needed; python -m apps.{app_name} makes one",
                received=f"none under {parent}",
            )
        if self.version is not None and self.version not in numbers:
            raise InputError(
                f"`version` must be one of: {', '.join(map(str, numbers))}", received=self.version
            )
        folder = parent / str(self.version or numbers[-1])
        refuse_damage(folder / CHECKSUMS, folder)
        return ExportedModel(folder)


class ExportedModel:
    """An exported version on disk.

    Args:
        folder: `<export_dir>/<app>/<version>`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def metadata(self, *names: str) -> dict[str, Any]:
        """The metadata of the version, from `metadata.json`.

        Args:
            names: Names that must be in it, beside those that every export has.

        Raises:
            InputError: The file cannot be read, or lacks one of the names.
        """
        path = self.folder / METADATA
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
            types_fit = all(isinstance(metadata[name], type_) for name, type_ in REQUIRED.items())
            if types_fit and all(metadata.get(name) for name in ("metrics", *names)):
                return metadata
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass
        raise _damaged(path)

    def call(self, inputs: Any, signature: str = "serve") -> dict[str, np.ndarray]:
        """The outputs of a signature by name.

        Args:
            inputs: Arrays by name, or the array itself if there is one input.
            signature: The name of the endpoint.

        Raises:
            InputError: The version cannot be loaded, or the export refuses these inputs.
        """
        function = self.signature(signature)
        try:
            return call(function, inputs)
        except tf.errors.InvalidArgumentError as error:
            raise refusal(error) or error from None

    def signature(self, name: str = "serve") -> Any:
        """A signature of the version: a function of named tensors.

        Raises:
            InputError: The version cannot be loaded, or has no such signature.
        """
        try:
            signatures = load_saved_model(self.folder).signatures
        except InputError:
            raise
        except DAMAGE:
            raise _damaged(self.folder) from None
        if name not in signatures:
            names = ", ".join(sorted(signatures))
            raise InputError(f"the signature of {self.folder} must be one of: {names}", name)
        return signatures[name]

    def built(self) -> Any:
        """Loads the networks as the app's builder returns them: one model, or several by name.

        Raises:
            InputError: The version cannot be loaded.
        """
        files = sorted((self.folder / network_file("any")).parent.glob("*.keras"))
        if files:
            return {path.stem: _loaded(path) for path in files}
        return _loaded(self.folder / network_file(None))


def open_folder(folder: Path) -> ExportedModel:
    """The exported version in a folder `<export_dir>/<app>/<version>`, after a check of its files.

    The folder may also be `<export_dir>/<app>`, for its newest version.

    Raises:
        InputError: There is no such version, or it is damaged.
    """
    version = int(folder.name) if folder.name.isdecimal() else None
    app_folder = folder.parent if version else folder
    return Exports(export_dir=app_folder.parent, version=version).open(app_folder.name)


def _loaded(path: Path) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except DAMAGE:
        raise _damaged(path) from None


def _damaged(path: Path) -> InputError:
    return InputError("an exported model must be whole", received=f"{path}, damaged")
