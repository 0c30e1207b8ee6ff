"""What an importer finds in a folder: images, what says which of their pixels are which class, and the classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from hrfamily_deploy.colors import palette
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Color

IGNORED = 255  # what stands for "no class" in every label map here
SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class Label(Protocol):
    """What says where the classes of one image are.

    Attributes:
        files: those that it is read from.
    """

    @property
    def files(self) -> tuple[Path, ...]: ...

    def draw(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8 of class numbers and IGNORED.

        Raises:
            UserError: the files cannot be read, or do not fit an image of that size.
        """


@dataclass(frozen=True)
class Item:
    """An image with its label, if it has one, and the part of the data set that its own lists put it in."""

    image: Path
    label: Label | None = None
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set as it lies in its folder.

    Attributes:
        layout: how it lies there, in words.
        items: all images found.
        names: of the classes, by their number.
        colors: RGB of each, or None where the source has none.
        relabel: where the label files can be trained on as they are: what each value of a file is read as. None where
            they have to be drawn anew.
        notes: what the user should know.
    """

    layout: str
    items: tuple[Item, ...]
    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None
    relabel: Mapping[int, int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What the user has said beforehand, in flags.

    Attributes:
        layout: the layout's name, where a folder could be read as several.
        classes: names in the order of their numbers.
        colors: RGB of each class, where masks are in colour.
        ignore: value (or colour) of masks that stands for "no class"; "none" if there is no such value.
    """

    layout: str | None = None
    classes: Sequence[str] = ()
    colors: Sequence[Color] = ()
    ignore: str | None = None


def colors_of(source: Source) -> tuple[Color, ...]:
    """The source's own colours of the classes, else PaddleSeg's, background being black."""
    if source.colors is not None:
        return source.colors
    if source.names[0] in ("background", "_background_"):
        return ((0, 0, 0), *palette(len(source.names) - 1))
    return palette(len(source.names))


class Question(UserError):
    """More than one reading of a folder is possible: what is unclear, and the flag that answers it."""

    def __init__(self, what: str, flag: str) -> None:
        super().__init__(f"{what}; answer with {flag}")


@dataclass
class Images:
    """The images below a folder, by name without suffix and by path from the folder."""

    root: Path
    files: tuple[Path, ...] = field(default=())

    @classmethod
    def below(cls, root: Path) -> Images:
        """All image files, hidden ones and those in hidden folders left out; `files_below` of these suffixes."""
        return cls(root, tuple(files_below(root, IMAGE_SUFFIXES)))

    def named(self, name: str) -> Path | None:
        """The one image that a file name or a path from the folder means, or None.

        Raises:
            UserError: several have that name.
        """
        direct = self.root / name
        if direct in self._paths:
            return direct
        found = self._by_name.get(Path(name).name, [])
        if len(found) > 1:
            raise UserError(
                f"{name} is the name of {len(found)} images: {found[0]}, {found[1]}; give each its own name"
            )
        return found[0] if found else None

    @property
    def _paths(self) -> set[Path]:
        if not hasattr(self, "_path_set"):
            self._path_set = set(self.files)
        return self._path_set

    @property
    def _by_name(self) -> dict[str, list[Path]]:
        if not hasattr(self, "_names"):
            self._names: dict[str, list[Path]] = {}
            for path in self.files:
                self._names.setdefault(path.name, []).append(path)
        return self._names


def files_below(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of these suffixes, sorted; hidden ones are left out, links to folders followed, each folder once."""
    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(found)


def split_of(path: Path) -> str | None:
    """The part of a data set that a folder in the path names: train, val or test."""
    words = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
    found = [words[part.lower()] for part in path.parts if part.lower() in words]
    return found[-1] if found else None
