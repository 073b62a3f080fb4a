"""Examples, the pipelines that feed them to `fit`, and readers of what they come from."""

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
