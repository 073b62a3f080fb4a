"""The folders of exported versions, and the names of the files beside their SavedModels.

Needs neither Keras nor TensorFlow: a server and a list of applications look here.
"""

import re
from pathlib import Path

METADATA = "assets.extra/metadata.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"
CHECKSUMS = "assets.extra/SHA256SUMS"
VERSION = re.compile("0|[1-9][0-9]{0,17}")  # a number without leading zeros that fits int64


def versions(folder: Path) -> list[int]:
    """The exported versions in `<export_dir>/<app>`, oldest first; none if it cannot be read."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted(int(name) for name in names if VERSION.fullmatch(name))


def network_file(name: str | None) -> str:
    """The file of a network in Keras's format, relative to the folder of a version.

    Args:
        name: The name of the network; None for the one model of a builder that returns no names.
    """
    return "assets.extra/model.keras" if name is None else f"assets.extra/networks/{name}.keras"
