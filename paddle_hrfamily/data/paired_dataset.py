"""What the data sets here share: a folder that is checked when it is named, and pairs of image and label found in it.

Whatever is missing, the error names it and says where the data comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from paddleseg.datasets import Dataset
from paddleseg.transforms import Compose

from paddle_hrfamily.errors import UserError, unknown

Pair = tuple[Path, Path]
Sample = dict[str, Any]  # PaddleSeg's: "img" (H, W, C), "label" (H, W) and others named by "gt_fields"
# What a data set is to be evaluated as: labels of images, metres, or labels of volumes that its samples are slices of.
Task = Literal["segmentation", "depth", "volumes"]
_SHOWN = 3


class PairedDataset(Dataset):
    """A PaddleSeg data set whose subclass knows where the pairs are: it defines `find` and the constants.

    Args:
        mode: one of MODES.
        transforms: list of PaddleSeg transforms.
        dataset_root: the folder.
        edge: as in PaddleSeg's `Dataset`.

    Raises:
        UserError: unknown mode, or something is missing from the folder.
    """

    task: Task = "segmentation"
    NUM_CLASSES: int
    IGNORE_INDEX = 255
    IMG_CHANNELS = 3
    MODES: tuple[str, ...] = ("train", "val")
    SOURCE: str  # where the data comes from, in words
    relabel: dict[int, int] = {}  # noqa: RUF012  what a label file says -> what is trained on, where they differ

    def __init__(self, mode: str, transforms: list, dataset_root: str, edge: bool = False) -> None:
        self.mode = check_mode(type(self).__name__, mode, self.MODES)
        self.dataset_root = dataset_root
        self.num_classes = self.NUM_CLASSES
        self.ignore_index = self.IGNORE_INDEX
        self.img_channels = self.IMG_CHANNELS
        self.edge = edge
        first = [Relabel(self.relabel)] if self.relabel else []
        self.transforms = Compose(first + transforms, img_channels=self.img_channels)
        pairs = list(self.find(self.folder(dataset_root)))
        self.check_there(pairs)
        self.file_list = [[str(image), str(label)] for image, label in pairs]

    def find(self, root: Path) -> Iterable[Pair]:
        """The pairs of `self.mode`; UserError by `self.missing` where the layout is not as it should be."""
        raise NotImplementedError

    def folder(self, dataset_root: str) -> Path:
        root = Path(dataset_root).expanduser()
        if not root.is_dir():
            raise self.missing(f"{root.absolute()} does not exist")
        return root

    def check_there(self, pairs: Iterable[Iterable[Path]]) -> None:
        """UserError for the files that do not exist, with the first of them."""
        absent = [file for pair in pairs for file in pair if not file.is_file()]
        if absent:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            raise self.missing(f"no {', no '.join(map(str, absent[:_SHOWN]))}{more}")

    def missing(self, what: str) -> UserError:
        """The error to raise: what is missing, and where it comes from."""
        return UserError(f"{type(self).__name__} ({self.mode}): {what}. {self.SOURCE}")


class Relabel:
    """Transform: replace values of the label, before any other transform pads it."""

    def __init__(self, values: dict[int, int]) -> None:
        self.table = np.arange(256, dtype=np.uint8)
        for value, meaning in values.items():
            self.table[value] = meaning

    def __call__(self, data: Sample) -> Sample:
        if "label" in data:
            data["label"] = self.table[data["label"]]
        return data


def check_mode(name: str, mode: str, modes: tuple[str, ...]) -> str:
    """`mode`, if it is one of `modes`."""
    if mode not in modes:
        raise unknown(f"mode of {name}", mode, modes)
    return mode


def listed(file: Path, columns: int = 2) -> Iterator[tuple[str, ...]]:
    """The first words of each line that is not empty.

    Raises:
        UserError: a line has fewer of them.
    """
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        words = tuple(islice(line.split(), columns))
        if words and len(words) < columns:
            raise UserError(f"{file}:{number}: {line!r} is too short; write {columns} paths, image and label, a line")
        if words:
            yield words


def first_there(candidates: Iterable[Path]) -> Path | None:
    """The first path that exists."""
    return next((path for path in candidates if path.exists()), None)
