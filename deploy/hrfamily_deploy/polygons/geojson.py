"""GeoJSON, a file for each image: a polygon with its holes for each region, background too.

Coordinates are those of the map where the image has some; its coordinate system is then named as GDAL and QGIS do, by
the member `crs` (RFC 7946 knows none but WGS 84). Other images have pixels: x to the right, y down from the upper left
corner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hrfamily_deploy.imaging import geotiff
from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.imaging.geotiff import Coordinates
from hrfamily_deploy.polygons.base import Picture, points, write_json
from hrfamily_deploy.polygons.regions import Region, signed_area


class Writer:
    """See `base.Writer`."""

    def __init__(self, folder: Path, classes: Classes) -> None:
        self.folder, self.classes = folder, classes

    def add(self, picture: Picture) -> None:
        place = picture.place or geotiff.coordinates(picture.path)
        features = [self._feature(region, place) for region in picture.regions]
        content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
        if place and place.crs:
            content["crs"] = {"type": "name", "properties": {"name": _name_of(place.crs)}}
        write_json(self.folder / f"{picture.stem}.geojson", content)

    def finish(self) -> None:
        pass

    def _feature(self, region: Region, place: Coordinates | None) -> dict[str, Any]:
        shown, number = self.classes.shown, int(self.classes.numbered(np.array(region.number)))
        properties = {
            "class": shown.names[number],
            "number": region.number,
            "color": "#{:02x}{:02x}{:02x}".format(*shown.colors[number]),
            "pixels": region.area,
        }
        rings = [_ring(ring, place, turns=-1 if hole else 1) for hole, ring in enumerate(region.rings)]
        return {
            "type": "Feature",
            "properties": properties,
            "geometry": {"type": "Polygon", "coordinates": rings},
        }


def _ring(ring: np.ndarray, place: Coordinates | None, turns: int) -> list[list[float]]:
    """Closed, and turning as RFC 7946 asks for: counterclockwise around the region, clockwise around holes."""
    placed = _on_map(ring, place) if place else ring
    if signed_area(placed) * turns < 0:
        placed = placed[::-1]
    closed = np.vstack([placed, placed[:1]])
    return closed.tolist() if place else points(closed)


def _on_map(ring: np.ndarray, place: Coordinates) -> np.ndarray:
    """(P, 2) coordinates of columns and rows, of which (0, 0) is the image's upper left corner."""
    a, b, c, d, e, f = tuple(place.transform)[:6]
    return ring @ np.array([[a, d], [b, e]]) + np.array([c, f])


def _name_of(crs: Any) -> str:
    """The URN of rasterio's CRS, or its WKT where nobody has numbered it."""
    known = crs.to_authority()
    return "urn:ogc:def:crs:{}::{}".format(*known) if known else crs.to_wkt()
