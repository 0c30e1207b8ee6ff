"""Cityscapes: its labels, its lists, and how its files are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paddle_hrfamily import registry
from paddle_hrfamily.data.paddleseg_classes import CITYSCAPES
from paddle_hrfamily.data.paired_dataset import Pair, PairedDataset
from paddle_hrfamily.errors import UserError


class Label(NamedTuple):
    """One of the 19 classes.

    Attributes:
        id: its number in labelIds files, which the server takes.
        category: the name of the group that it is in.
        instance_size: pixels that an instance has on average; None for a class without instances.
    """

    id: int
    category: str
    instance_size: float | None = None


# In the order of trainIds. cityscapesScripts: helpers/labels.py and evaluation/evalPixelLevelSemanticLabeling.py.
LABELS = (
    Label(7, "flat"),
    Label(8, "flat"),
    Label(11, "construction"),
    Label(12, "construction"),
    Label(13, "construction"),
    Label(17, "object"),
    Label(19, "object"),
    Label(20, "object"),
    Label(21, "nature"),
    Label(22, "nature"),
    Label(23, "sky"),
    Label(24, "human", 3462.4756337644),
    Label(25, "human", 3930.4788056518),
    Label(26, "vehicle", 12794.0202738185),
    Label(27, "vehicle", 27855.1264367816),
    Label(28, "vehicle", 35732.1511111111),
    Label(31, "vehicle", 67583.7075812274),
    Label(32, "vehicle", 6298.7200839748),
    Label(33, "vehicle", 4672.3249222261),
)
SIZE = (2048, 1024)  # width, height of every image
_IMAGE, _TRAIN_IDS, _INSTANCE_IDS = "_leftImg8bit.png", "_gtFine_labelTrainIds.png", "_gtFine_instanceIds.png"
_NAME = re.compile(r"[a-z]+(-[a-z]+)*_\d{6}_\d{6}")  # city, sequence, frame


@registry.dataset(classes=CITYSCAPES)
class CityscapesFine(PairedDataset):
    """The 5000 finely labelled images: 2975 in train, 500 in val, 1525 in test; trainval is the first two.

    PaddleSeg's own Cityscapes knows no trainval, and pairs images with labels by their order. The labels of test,
    which are not published, are empty.
    """

    NUM_CLASSES = len(LABELS)
    MODES = ("train", "val", "trainval", "test")
    SOURCE = (
        "Cityscapes comes from https://www.cityscapes-dataset.com/downloads/: unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip into dataset_root, then `hrfamily trainids` on that folder"
    )

    def find(self, root: Path) -> Iterator[Pair]:
        for split in ("train", "val") if self.mode == "trainval" else (self.mode,):
            images = sorted((root / "leftImg8bit" / split).glob(f"*/*{_IMAGE}"))
            if not images:
                raise self.missing(f"no images in {root / 'leftImg8bit' / split}")
            for image in images:
                name = image.name.replace(_IMAGE, _TRAIN_IDS)
                yield image, root / "gtFine" / split / image.parent.name / name


def image_name(path: Path) -> str:
    """CITY_SEQUENCE_FRAME of an image's file.

    Raises:
        UserError: it is not called as Cityscapes' images are.
    """
    name = path.name.replace(_IMAGE, "")
    if not path.name.endswith(_IMAGE) or not _NAME.fullmatch(name):
        raise UserError(
            f"{path} is not called as an image of Cityscapes, such as berlin_000000_000019{_IMAGE}; its server takes "
            "no other: leave out --server"
        )
    return name


def instance_file(label: Path) -> Path:
    """Where the instances of a *_labelTrainIds.png lie."""
    return label.with_name(label.name.replace(_TRAIN_IDS, _INSTANCE_IDS))
