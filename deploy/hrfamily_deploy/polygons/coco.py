"""COCO's JSON, a file for all images: one annotation for each region.

A region without holes is a polygon along the edges of pixels. COCO's polygons have no holes, so a region with some is
written as run lengths, which are exact at any tolerance. Background is what no annotation covers; unsure pixels have
the category __ignore__.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.polygons.base import IGNORE, Picture, is_background, points, write_json
from hrfamily_deploy.polygons.regions import Region

FILE = "coco.json"


class Writer:
    """See `base.Writer`. Categories have the numbers of their classes, and one more."""

    def __init__(self, folder: Path, classes: Classes) -> None:
        self.folder, self.classes = folder, classes
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, picture: Picture) -> None:
        height, width = picture.size
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": picture.name, "height": height, "width": width})
        for region in picture.regions:
            if not is_background(region.number, self.classes):
                self._annotations.append(
                    {
                        "id": len(self._annotations) + 1,
                        "image_id": image,
                        "category_id": region.number + 1,
                        "segmentation": _segmentation(region, picture.size),
                        "area": region.area,
                        "bbox": list(region.box),
                        "iscrowd": 0,
                    }
                )

    def finish(self) -> None:
        numbers = [number for number in range(len(self.classes.names)) if not is_background(number, self.classes)]
        categories = [{"id": number + 1, "name": self.classes.names[number]} for number in numbers]
        if self.classes.unsure is not None:
            categories.append({"id": self.classes.unsure + 1, "name": IGNORE})
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        write_json(self.folder / FILE, content)


def _segmentation(region: Region, size: tuple[int, int]) -> list[list[float]] | dict[str, Any]:
    if len(region.rings) == 1:
        return [[value for point in points(region.rings[0]) for value in point]]
    left, top, width, height = region.box
    inside = np.zeros(size, bool)
    inside[top : top + height, left : left + width] = region.mask
    down = inside.ravel(order="F")  # column after column
    ends = np.flatnonzero(down[1:] != down[:-1]) + 1
    counts = np.diff(ends, prepend=0, append=down.size).tolist()
    return {"counts": [0, *counts] if down[0] else counts, "size": list(size)}  # the first run is of what is outside
