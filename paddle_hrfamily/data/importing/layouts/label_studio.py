"""Label Studio's PNG export: a mask for each class of each task, task-1-annotation-2-by-1-tag-Car-0.png.

The files tell the task's number and no image: images must be called by it, 1.jpg or task-1.jpg.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddle_hrfamily.data.importing import masks
from paddle_hrfamily.data.importing.source import Answers, Images, Item, Source
from paddle_hrfamily.errors import UserError

NAME = "label_studio"
_MASK = re.compile(r"task-(\d+)-annotation-(\d+)-by-.*-tag-(.+)-\d+")


def find(root: Path, answers: Answers) -> Source | None:
    """None where no mask is called so."""
    files = Images.below(root).files
    parsed = {path: found for path in files if (found := _MASK.fullmatch(path.stem))}
    if not parsed:
        return None
    names = tuple(answers.classes) or ("background", *sorted({found[3] for found in parsed.values()}))
    tasks: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for path, found in parsed.items():
        if found[3] not in names:
            raise UserError(f"{path}: the class {found[3]!r} is not in --classes; add it")
        tasks[found[1]].append((path, names.index(found[3])))
    items = []
    for image in (path for path in files if path not in parsed):
        number = image.stem.removeprefix("task-")
        items.append(Item(image, Brushes(tuple(tasks.pop(number))) if number in tasks else None))
    if tasks:
        task, painted = next(iter(tasks.items()))
        raise UserError(
            f"{painted[0][0]}: no image is called {task} or task-{task}; rename the images by their tasks, or export "
            "as COCO, which names them"
        )
    return Source("Label Studio (PNG)", tuple(items), names)


@dataclass(frozen=True)
class Brushes:
    """Masks of single classes; smaller ones lie above."""

    painted: tuple[tuple[Path, int], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path, _ in self.painted)

    def draw(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8 of class numbers, background 0."""
        regions = []
        for path, number in self.painted:
            pixels = masks.read(path)
            if pixels.shape[:2] != (height, width):
                raise UserError(f"{path}: the mask is {pixels.shape[1]}x{pixels.shape[0]}, its image {width}x{height}")
            region = pixels.reshape(height, width, -1).any(axis=2)
            regions.append((int(region.sum()), number, region))
        drawn = np.zeros((height, width), np.uint8)
        for _, number, region in sorted(regions, key=lambda found: -found[0]):
            drawn[region] = number
        return drawn
