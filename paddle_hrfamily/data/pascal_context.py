"""PASCAL-Context with its background as a class."""

from __future__ import annotations

from paddleseg.datasets import Dataset

from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Relabel
from paddle_hrfamily.errors import UserError

_CLASSES = 60


@registry.dataset()
class PascalContext60(Dataset):
    """The labels of 59 classes, 0 to 58 and 255, read as 60: background is 0, the others follow.

    This is the order of the official HRNet code, and table 5 of its paper has the scores. What is not labelled is
    background, and evaluated; the padding of crops is still left alone.

    Args:
        mode, dataset_root, transforms, train_path, val_path, edge: as in PaddleSeg's `Dataset`.
        num_classes: 60.

    Raises:
        UserError: another number of classes.
    """

    NUM_CLASSES, IMG_CHANNELS, IGNORE_INDEX = _CLASSES, 3, 255
    # From the last one on, so that no value is moved twice by who goes through these one by one.
    relabel = {**{label: label + 1 for label in range(_CLASSES - 2, -1, -1)}, 255: 0}  # noqa: RUF012

    def __init__(
        self,
        mode: str,
        dataset_root: str,
        transforms: list,
        num_classes: int = _CLASSES,
        train_path: str | None = None,
        val_path: str | None = None,
        edge: bool = False,
    ) -> None:
        if num_classes != _CLASSES:
            raise UserError(f"PascalContext60: num_classes is {num_classes}; it is {_CLASSES}, or the type is Dataset")
        transforms = [Relabel(self.relabel), *transforms]
        paths = {"train_path": train_path, "val_path": val_path}
        super().__init__(mode, dataset_root, transforms, num_classes, edge=edge, **paths)
