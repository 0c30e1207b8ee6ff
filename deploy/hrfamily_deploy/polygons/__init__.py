"""Label maps as polygons for annotation tools and maps, one file a format. To add one, write it and name it here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.polygons import coco, geojson, labelme
from hrfamily_deploy.polygons.base import Picture, Polygons, Writer

FORMATS: dict[str, type[Writer]] = {"coco": coco.Writer, "geojson": geojson.Writer, "labelme": labelme.Writer}

__all__ = ["FORMATS", "Picture", "PolygonFiles", "Polygons"]


class PolygonFiles:
    """Writes the polygons of label maps.

    Args:
        wanted: what they are to be like.
        folder: for the files.
        classes: of the label maps.
    """

    def __init__(self, wanted: Polygons, folder: Path, classes: Classes) -> None:
        self._wanted, self._writer = wanted, FORMATS[wanted.format](folder, classes)

    def add(self, path: Path, name: str, stem: str, label: np.ndarray) -> None:
        """The label map (H, W) of an image; see `Picture` for the names.

        Raises:
            UserError: a file cannot be written, or the image's place on the map not be read.
        """
        height, width = label.shape
        regions = self._wanted.regions(label)
        self._writer.add(Picture(path, name, stem, (height, width), regions, self._wanted.tolerance))

    def finish(self) -> None:
        """Write what goes into a file for all images."""
        self._writer.finish()
