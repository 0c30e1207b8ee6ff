"""COCO's JSON: images, categories, and annotations by polygons or run lengths. The rest is background.

CVAT and Label Studio export it as well. Larger annotations are drawn first, so that small ones lie above them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddle_hrfamily.data.importing.source import IGNORED, Answers, Images, Item, Source, files_below, split_of
from paddle_hrfamily.errors import UserError

NAME = "coco"
BACKGROUND, IGNORE = ("background", "_background_"), ("__ignore__", "_ignore_")


def find(root: Path, answers: Answers) -> Source | None:
    """None where no JSON file has images, annotations and categories."""
    documents = {path: found for path in files_below(root, (".json",)) if (found := _document(path)) is not None}
    if not documents:
        return None
    _needed()
    categories = _categories(documents)
    names = tuple(answers.classes) or (
        "background",
        *(name for name in dict.fromkeys(categories.values()) if name not in (*BACKGROUND, *IGNORE)),
    )
    unknown = [name for name in categories.values() if name not in (*names, *BACKGROUND, *IGNORE)]
    if unknown:
        raise UserError(f"{next(iter(documents))}: the category {unknown[0]!r} is not in --classes; add it")
    images = Images.below(root)
    labelled: dict[Path, Item] = {}
    for path, found in documents.items():
        for item in _items(path, found, images, names):
            if item.image in labelled:
                raise UserError(f"{path}: {item.image} is labelled by another JSON file as well; remove one of them")
            labelled[item.image] = item
    items = tuple(labelled.get(image, Item(image)) for image in images.files)
    return Source("COCO", items, names)


def _document(path: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no JSON ({error}); export it again, or take it out") from error
    keys = ("images", "annotations", "categories")
    is_one = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys)
    return content if is_one else None


def _needed() -> None:
    try:
        import pycocotools  # type: ignore[import-untyped]  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("COCO's JSON needs pycocotools: pip install 'paddle_hrfamily[coco]'") from None


def _categories(documents: Mapping[Path, Mapping[str, Any]]) -> dict[int, str]:
    """Names by id, in the order of the ids. Several files must agree."""
    found: dict[int, str] = {}
    for path, content in documents.items():
        for entry in content["categories"]:
            if not isinstance(entry, dict) or "id" not in entry or "name" not in entry:
                raise UserError(f"{path}: the category {entry!r} has no id or no name; export it again")
            if found.setdefault(entry["id"], str(entry["name"])) != str(entry["name"]):
                raise UserError(
                    f"{path}: category {entry['id']} is {entry['name']!r}, and {found[entry['id']]!r} in another file; "
                    "give both files the same categories"
                )
    return dict(sorted(found.items()))


def _items(path: Path, content: Mapping[str, Any], images: Images, names: tuple[str, ...]) -> list[Item]:
    by_name = {name: number for number, name in enumerate(names)} | dict.fromkeys(IGNORE, IGNORED)
    by_name |= dict.fromkeys(BACKGROUND, 0)
    numbers = {entry["id"]: by_name[str(entry["name"])] for entry in content["categories"]}
    drawn = defaultdict(list)
    for entry in content["annotations"]:
        if entry.get("category_id") not in numbers:
            raise UserError(
                f"{path}: annotation {entry.get('id')} has category {entry.get('category_id')}, which is none"
            )
        drawn[entry.get("image_id")].append(entry)
    split = split_of(path.relative_to(images.root).with_suffix("")) or _split_in_name(path)
    items = []
    for entry in content["images"]:
        image = images.named(str(entry.get("file_name", "")).replace("\\", "/")) or _without_prefix(entry, images)
        if image is None:
            raise UserError(f"{path}: its image {entry.get('file_name')!r} is not below {images.root}; put it there")
        regions = Regions(path, (entry.get("height"), entry.get("width")), tuple(drawn.pop(entry["id"], ())), numbers)
        items.append(Item(image, regions, split or split_of(image.relative_to(images.root).parent)))
    if drawn:
        raise UserError(f"{path}: annotations belong to image {next(iter(drawn))}, which is not among its images")
    return items


def _split_in_name(path: Path) -> str | None:
    """instances_train2017.json is of train."""
    found = [split for split in ("train", "val", "test") if split in path.stem.lower()]
    return found[0] if len(found) == 1 else None


def _without_prefix(entry: Mapping[str, Any], images: Images) -> Path | None:
    """Label Studio puts eight characters and a dash before an uploaded file's name."""
    name = Path(str(entry.get("file_name", ""))).name
    return images.named(name.partition("-")[2]) if len(name.partition("-")[0]) == 8 else None


@dataclass(frozen=True)
class Regions:
    """The annotations of one image in one JSON file."""

    path: Path
    size: tuple[Any, Any]  # height, width as the file says
    annotations: tuple[Mapping[str, Any], ...]
    numbers: Mapping[int, int]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def draw(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8 of class numbers, background 0."""
        if self.size != (height, width):
            raise UserError(
                f"{self.path}: says that an image is {self.size[1]}x{self.size[0]}, and it is {width}x{height}; "
                "export the annotations of these images"
            )
        regions = []
        for entry in self.annotations:
            try:
                region = _region(entry.get("segmentation"), height, width)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise UserError(f"{self.path}: annotation {entry.get('id')} cannot be drawn ({error})") from error
            regions.append((int(region.sum()), self.numbers[entry["category_id"]], region))
        drawn = np.zeros((height, width), np.uint8)
        for _, number, region in sorted(regions, key=lambda found: -found[0]):
            drawn[region] = number
        return drawn


def _region(segmentation: object, height: int, width: int) -> np.ndarray:
    """(height, width) bool of polygons [[x, y, x, y, …], …] or of run lengths, packed or not."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        if not polygons:
            raise ValueError("its polygon has fewer than three points; boxes alone are no segmentation")
        runs = mask.merge(mask.frPyObjects(polygons, height, width))
    elif isinstance(segmentation, dict):
        packed = isinstance(segmentation["counts"], (str, bytes))
        runs = segmentation if packed else mask.frPyObjects(segmentation, height, width)
        if list(runs["size"]) != [height, width]:
            raise ValueError(f"its run lengths are of {runs['size']} pixels")
    else:
        raise ValueError("it has no segmentation")
    return mask.decode(runs).astype(bool)
