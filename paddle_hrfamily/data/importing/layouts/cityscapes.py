"""Cityscapes: leftImg8bit/SPLIT/CITY/… and gtFine/SPLIT/CITY/…_labelIds.png or …_labelTrainIds.png."""

from __future__ import annotations

from pathlib import Path

from paddle_hrfamily.data.cityscapes import LABELS
from paddle_hrfamily.data.importing import masks
from paddle_hrfamily.data.importing.source import IGNORED, Answers, Item, Source
from paddle_hrfamily.data.paddleseg_classes import CITYSCAPES

NAME = "cityscapes"
_IMAGE = "_leftImg8bit.png"
_OTHER_IDS = (*range(34), 255)  # 255 stands for the licence plate's -1


def find(root: Path, answers: Answers) -> Source | None:
    """None where the folders are not there."""
    images = sorted((root / "leftImg8bit").glob(f"*/*/*{_IMAGE}"))
    if not images or not (root / "gtFine").is_dir():
        return None
    names, colors = tuple(CITYSCAPES), tuple(CITYSCAPES.values())
    train_ids = {number: number for number in range(len(LABELS))} | {255: IGNORED}
    ids = dict.fromkeys(_OTHER_IDS, IGNORED) | {label.id: number for number, label in enumerate(LABELS)}
    made = {
        "_gtFine_labelTrainIds.png": masks.Coding(train_ids, names, colors),
        "_gtFine_labelIds.png": masks.Coding(ids, names, colors),
    }
    endings = [end for end in made if next(root.glob(f"gtFine/*/*/*{end}"), None)]
    if not endings:
        return None
    items, coding = [], made[endings[0]]
    for image in images:
        split, city = image.parts[-3:-1]
        label = root / "gtFine" / split / city / image.name.replace(_IMAGE, endings[0])
        known = masks.Mask(label, coding) if label.is_file() else None
        items.append(Item(image, known, split if split in ("train", "val", "test") else None))
    return Source(f"Cityscapes ({endings[0][1:]})", tuple(items), names, colors, coding.relabel)
