"""labelme: a JSON file beside each image, with shapes around what is seen. What no shape covers is background."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from paddle_hrfamily.data.importing.source import IGNORED, Answers, Images, Item, Source, files_below, split_of
from paddle_hrfamily.errors import UserError

NAME = "labelme"
BACKGROUND, IGNORE = ("_background_", "background"), ("__ignore__", "_ignore_")


def find(root: Path, answers: Answers) -> Source | None:
    """None where no JSON file has shapes."""
    documents = {path: found for path in files_below(root, (".json",)) if (found := _document(path)) is not None}
    if not documents:
        return None
    seen = {str(shape.get("label")) for found in documents.values() for shape in found["shapes"]}
    names = tuple(answers.classes) or ("background", *sorted(seen - {*BACKGROUND, *IGNORE}))
    unknown = sorted(seen - {*names, *BACKGROUND, *IGNORE})
    if unknown:
        raise UserError(f"{root}: shapes are called {', '.join(unknown[:4])}, which --classes does not name; add them")
    numbers = {name: number for number, name in enumerate(names)} | dict.fromkeys(IGNORE, IGNORED)
    numbers |= {name: numbers.get(name, 0) for name in BACKGROUND}
    images = Images.below(root)
    labelled: dict[Path, Shapes] = {}
    for path, found in documents.items():
        image = _image_of(path, found, images)
        if image in labelled:
            raise UserError(f"{path}: labels {image}, which {labelled[image].path} labels as well; remove one of them")
        labelled[image] = Shapes(path, tuple(found["shapes"]), numbers)
    items = tuple(Item(image, labelled.get(image), split_of(image.relative_to(root).parent)) for image in images.files)
    return Source("labelme", items, names)


def _document(path: Path) -> Mapping[str, Any] | None:
    """The content of a labelme file; None for other JSON files.

    Raises:
        UserError: the file is no JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no JSON ({error}); export it again, or take it out") from error
    is_one = isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content
    return content if is_one else None


def _image_of(path: Path, found: Mapping[str, Any], images: Images) -> Path:
    name = str(found["imagePath"]).replace("\\", "/")
    beside = (path.parent / name).resolve()
    by_place = next((image for image in images.files if image.resolve() == beside), None)
    image = by_place or images.named(Path(name).name)
    if image is None:
        raise UserError(f"{path}: its image {name} is not there; put it beside the JSON file")
    return image


@dataclass(frozen=True)
class Shapes:
    """The shapes of one labelme file; later ones lie above earlier ones."""

    path: Path
    shapes: tuple[Mapping[str, Any], ...]
    numbers: Mapping[str, int]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def draw(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8; drawn as labelme itself does."""
        canvas = Image.new("L", (width, height), 0)
        pen = ImageDraw.Draw(canvas)
        for index, shape in enumerate(self.shapes):
            number = self.numbers[str(shape.get("label"))]
            try:
                self._draw(shape, number, canvas, pen)
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise UserError(
                    f"{self.path}: shape {index} cannot be drawn ({error}); correct it in labelme"
                ) from error
        return np.asarray(canvas)

    def _draw(self, shape: Mapping[str, Any], number: int, canvas: Image.Image, pen: ImageDraw.ImageDraw) -> None:
        points = [(float(x), float(y)) for x, y in shape["points"]]
        kind = shape.get("shape_type") or "polygon"
        if kind == "polygon":
            if len(points) < 3:
                raise ValueError(f"a polygon of {len(points)} points")
            pen.polygon(points, fill=number, outline=number)
        elif kind == "rectangle":
            (left, right), (top, bottom) = (sorted(values) for values in zip(*points))
            pen.rectangle([left, top, right, bottom], fill=number, outline=number)
        elif kind == "circle":
            (x, y), (other_x, other_y) = points
            radius = ((x - other_x) ** 2 + (y - other_y) ** 2) ** 0.5
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=number, outline=number)
        elif kind in ("line", "linestrip"):
            pen.line(points, fill=number, width=int(shape.get("line_width") or 10))
        elif kind == "point":
            (x, y), radius = points[0], 5
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=number, outline=number)
        elif kind == "mask":
            inside = Image.open(io.BytesIO(base64.b64decode(shape["mask"]))).convert("L").point(lambda v: 255 * (v > 0))
            canvas.paste(number, (round(points[0][0]), round(points[0][1])), inside)
        else:
            raise ValueError(f"shape_type {kind!r}")
