"""What a format of polygons is: a writer that takes one picture after the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing
from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.imaging.geotiff import Coordinates
from hrfamily_deploy.polygons.regions import Region, regions

# What annotation tools and `hrfamily new` take for "no polygon lies here", and for "to be ignored".
BACKGROUND = ("background", "_background_")
IGNORE = "__ignore__"


@dataclass(frozen=True)
class Polygons:
    """What polygons are to be like.

    Attributes:
        format: one of FORMATS.
        least: pixels of a region; smaller ones are given to their neighbours.
        tolerance: pixels by which a polygon may leave the edges of pixels; 0 is exact.

    Raises:
        UserError: a number that makes no sense.
    """

    format: str
    least: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.least < 0:
            raise UserError(f"min-area {self.least} must be a number of pixels, 0 for every region")
        if not 0 <= self.tolerance < float("inf"):
            raise UserError(f"tolerance {self.tolerance} must be a number of pixels, 0 for exact polygons")

    def regions(self, label: np.ndarray) -> list[Region]:
        """The regions of a label map (H, W)."""
        return regions(label, self.least, self.tolerance)


@dataclass(frozen=True)
class Picture:
    """A segmented image.

    Attributes:
        path: of the image.
        name: of it, below the folder that was given.
        stem: of the files that are made of it.
        size: height and width.
        regions: as `regions` orders them.
        tolerance: that they were simplified by.
        place: on the map. Without, GeoJSON looks for it in the file.
    """

    path: Path
    name: str
    stem: str
    size: tuple[int, int]
    regions: list[Region]
    tolerance: float = 0.0
    place: Coordinates | None = None


class Writer(Protocol):
    """Writes polygons into a folder.

    Args:
        folder: for the files.
        classes: that regions are of.
    """

    def __init__(self, folder: Path, classes: Classes) -> None: ...

    def add(self, picture: Picture) -> None:
        """Write a picture's regions, or keep them for `finish`."""

    def finish(self) -> None:
        """Write what goes into a file for all pictures."""


def is_background(number: int, classes: Classes) -> bool:
    return number == 0 and classes.names[0] in BACKGROUND


def name_of(number: int, classes: Classes) -> str:
    return IGNORE if number == classes.unsure else classes.names[number]


def write_json(path: Path, content: object) -> None:
    """Whole or not at all. Raises UserError if it cannot be written."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def points(ring: np.ndarray) -> list[list[float]]:
    """[[x, y], …] of (P, 2), whole numbers without a fraction, others with that of a thousandth of a pixel."""
    rounded = np.round(ring, 3).tolist()
    return [[int(v) if float(v).is_integer() else v for v in point] for point in rounded]
