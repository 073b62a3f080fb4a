"""Examples, the sources that hold them, and the pipelines that feed them to `fit`."""

from suite.data.examples import Description, Examples, Source
from suite.data.pipelines import Augmentation, Data, Shard, batches, supervised

__all__ = [
    "Augmentation",
    "Data",
    "Description",
    "Examples",
    "Shard",
    "Source",
    "batches",
    "supervised",
]
