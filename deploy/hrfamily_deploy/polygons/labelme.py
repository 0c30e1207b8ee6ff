"""labelme's JSON, a file for each image: polygons, later ones above earlier ones.

Its polygons have no holes. What lies in a hole follows as a polygon of its own; where that is background, it is called
_background_. Unsure pixels are called __ignore__.

labelme draws the pixels that a polygon's line passes, so exact polygons name columns and rows of pixels. Simplified
ones follow the edges of pixels, and their masks reach up to a pixel further.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.polygons.base import BACKGROUND, Picture, is_background, name_of, points, write_json

_VERSION = "5.0.1"  # of labelme, which has what is used here


class Writer:
    """See `base.Writer`."""

    def __init__(self, folder: Path, classes: Classes) -> None:
        self.folder, self.classes = folder, classes

    def add(self, picture: Picture) -> None:
        path = self.folder / f"{picture.stem}.json"
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": list(self._shapes(picture)),
            "imagePath": Path(os.path.relpath(picture.path, path.parent)).as_posix(),
            "imageData": None,
            "imageHeight": picture.size[0],
            "imageWidth": picture.size[1],
        }
        write_json(path, content)

    def finish(self) -> None:
        pass

    def _shapes(self, picture: Picture) -> Iterator[dict[str, Any]]:
        covered = np.zeros(picture.size, np.uint8)
        for region in picture.regions:
            outline = region.outline()
            background = is_background(region.number, self.classes)
            left, top, width, height = region.box
            if background and not covered[top : top + height, left : left + width][region.mask].any():
                continue  # as it is without any polygon
            cv2.fillPoly(covered, [outline], 1)
            ring = points(region.rings[0] if picture.tolerance else outline)
            ring += [ring[0]] * (3 - len(ring))  # labelme wants three points, of a single pixel too
            yield {
                "label": BACKGROUND[1] if background else name_of(region.number, self.classes),
                "points": ring,
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
            }
