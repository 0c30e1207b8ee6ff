"""Masks as image files: numbers of classes in grey or palette images, or a colour for each class.

What a value means is found from all masks together: 0 and 255 alone are a background and one class; 255 beside other
numbers is "no class"; a palette's colours are the classes' own; colours are classes in the order of a table beside the
masks, of --classes with --colors, or of how much they cover.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrfamily_deploy.colors import palette
from hrfamily_deploy.progress import progress
from paddle_hrfamily.data.importing.source import IGNORED, Answers, Question
from paddle_hrfamily.data.label_checks import UNREADABLE
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Color

_MOST_VALUES, _MOST_COLORS = 128, 256  # in one mask: more of them were never drawn by hand
_LARGEST = 255


def read(path: Path) -> np.ndarray:
    """A mask as it lies in its file: (H, W) of whole numbers, palette images being their numbers, or (H, W, 3) uint8.

    Grey that is stored as colour is grey. Transparency is dropped.

    Raises:
        UserError: it cannot be read, or holds fractions.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            plain = {"LA": "L", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}.get(opened.mode)
            pixels = np.asarray(opened.convert(plain) if plain else opened)
    except FileNotFoundError:
        raise UserError(f"{path}: the mask is not there; put it there or take its image out") from None
    except UNREADABLE as error:
        raise UserError(f"{path}: the mask cannot be read ({error}); save it again as PNG, or take it out") from error
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.kind == "f":
        raise UserError(f"{path}: the mask holds fractions ({pixels.dtype}); save whole numbers, one for each class")
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return pixels


def palette_of(path: Path) -> tuple[Color, ...] | None:
    """The colours of a palette image, by its numbers; None for another kind."""
    with Image.open(path) as opened:
        flat = opened.getpalette() if opened.mode == "P" else None
    return None if flat is None else tuple(zip(flat[::3], flat[1::3], flat[2::3]))


@dataclass
class Census:
    """What a set of masks holds: pixels by value or colour, and the files with values that others do not have."""

    pixels: Counter = field(default_factory=Counter)  # of int, or of (r, g, b)
    first: dict = field(default_factory=dict)  # value -> the first file that has it
    palettes: dict = field(default_factory=dict)  # palette -> a file with it
    coloured: list[Path] = field(default_factory=list)
    numbered: list[Path] = field(default_factory=list)


def census(paths: Sequence[Path]) -> Census:
    """Read all masks once.

    Raises:
        UserError: one cannot be read, has too many colours to be a mask, or some are in colour and some are not.
    """
    found = Census()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        counts = pool.map(_counted, paths)
        for path, (values, colors) in zip(paths, progress(counts, "reading masks", len(paths), unit="mask", delay=1)):
            coloured = any(isinstance(value, tuple) for value in values)
            (found.coloured if coloured else found.numbered).append(path)
            if colors is not None:
                found.palettes.setdefault(colors, path)
            for value, count in values.items():
                found.pixels[value] += count
                found.first.setdefault(value, path)
    if found.coloured and found.numbered:
        raise UserError(
            f"{found.coloured[0]} is a mask in colour and {found.numbered[0]} one of numbers; save all masks in one way"
        )
    return found


def _counted(path: Path) -> tuple[dict, tuple[Color, ...] | None]:
    pixels = read(path)
    if pixels.ndim == 2:
        values, counts = np.unique(pixels, return_counts=True)
        if len(values) > _MOST_VALUES:
            raise UserError(
                f"{path}: the mask has {len(values)} values; it is a photograph, or was saved as JPEG or resized with "
                "smoothing; save the mask as PNG"
            )
        return dict(zip(values.tolist(), counts.tolist())), palette_of(path)
    packed = pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values, counts = np.unique(packed, return_counts=True)
    if len(values) > _MOST_COLORS:
        raise UserError(
            f"{path}: the mask has {len(values)} colours; it is a photograph, or was saved as JPEG or resized with "
            "smoothing; save the mask as PNG"
        )
    colors = [(int(v) >> 16, int(v) >> 8 & 255, int(v) & 255) for v in values]
    return dict(zip(colors, counts.tolist())), None


@dataclass(frozen=True)
class Coding:
    """What the values or colours of masks mean.

    Attributes:
        meaning: value or colour -> class number, or IGNORED.
        names, colors: of the classes; colours None where the masks have none of their own.
        notes: what was assumed.
    """

    meaning: Mapping[Any, int]  # the keys are int, or (r, g, b)
    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def relabel(self) -> dict[int, int] | None:
        """Values of the files that are read as others; None for colours and values beyond a byte."""
        if not all(isinstance(value, int) and 0 <= value <= 255 for value in self.meaning):
            return None
        return {value: number for value, number in self.meaning.items() if value != number}


def coding(found: Census, answers: Answers, table: Mapping[str, Color | None] | None = None) -> Coding:
    """The meaning of what a census found.

    Args:
        table: names, with their colours if masks are in colour, from a file beside the masks.

    Raises:
        Question: it could mean several things.
        UserError: there is nothing to tell apart, or the names do not fit.
    """
    names = tuple(answers.classes) or (tuple(table) if table else ())
    if found.coloured:
        colors = tuple(answers.colors) or tuple(color for color in (table or {}).values() if color is not None)
        return _of_colors(found, names, colors, _ignored_color(answers))
    return _of_numbers(found, names, answers)


def _of_numbers(found: Census, names: tuple[str, ...], answers: Answers) -> Coding:
    ignored = _ignored_number(sorted(found.pixels), answers)
    values = [value for value in sorted(found.pixels) if value != ignored]
    odd = [value for value in values if not 0 <= value <= _LARGEST]
    if odd:
        raise UserError(
            f"{found.first[odd[0]]}: the mask has the value {odd[0]}; classes are 0 to {_LARGEST}, and numbers of "
            "single objects are no classes: save the class of each pixel, or leave the value out with "
            f"--ignore {odd[0]}"
        )
    if len(values) < 2:
        where = found.first[values[0]] if values else next(iter(found.first.values()))
        raise UserError(
            f"{where}: every labelled pixel of every mask is {values[0] if values else ignored}; there are no two "
            "classes to tell apart: look whether the masks were saved as they should be"
        )
    if values in ([0, 1], [0, 255]):
        names = names or ("background", "foreground")
    meaning, notes = _numbers(values, len(names))
    count = max(len(names), *(number + 1 for number in meaning.values()))
    if names and len(names) != count:
        raise UserError(
            f"{len(names)} classes are named, and {found.first[values[-1]]} has the value {values[-1]}, which makes "
            f"{count}: name them all by --classes, or leave the value out with --ignore {values[-1]}"
        )
    colors = _palette_colors(found, meaning, count)
    if ignored is not None:
        meaning[ignored] = IGNORED
    return Coding(meaning, names or tuple(f"class {number}" for number in range(count)), colors, notes)


def _numbers(values: Sequence[int], named: int) -> tuple[dict[int, int], tuple[str, ...]]:
    """Class numbers of values, and what is to be said of them. `named` is how many classes have a name."""
    if _spread(values):
        meaning = {value: number for number, value in enumerate(values)}
        read_as = ", ".join(f"{value} as {number}" for value, number in meaning.items())
        return meaning, (f"values of masks are read in order: {read_as}",)
    if values[0] == 1 and values[-1] == len(values) and named != len(values) + 1:
        return {value: value - 1 for value in values}, (
            f"masks count from 1: 1 is read as 0, {values[-1]} as {values[-1] - 1}",
        )
    absent = sorted(set(range(values[-1])) - set(values))
    shown = f"{', '.join(map(str, absent[:8]))}{' …' if len(absent) > 8 else ''}"
    return {value: value for value in values}, (f"no mask has class {shown}",) if absent else ()


def _spread(values: Sequence[int]) -> bool:
    """Whether numbers were spread over the greys for people to see them, as 0, 127, 255."""
    return values[-1] > 64 and min(b - a for a, b in zip(values, values[1:])) >= 16


def _palette_colors(found: Census, meaning: Mapping[int, int], count: int) -> tuple[Color, ...] | None:
    """The classes' colours in the masks' palette, if all masks have one and the same."""
    if len(found.palettes) != 1:
        return None
    known = next(iter(found.palettes))
    by_number = {number: known[value] for value, number in meaning.items() if value < len(known)}
    colors = tuple(by_number.get(number, color) for number, color in enumerate(palette(count)))
    return colors if len(set(colors)) == count else None


def _ignored_number(values: Sequence[int], answers: Answers) -> int | None:
    if answers.ignore is not None:
        if answers.ignore == "none":
            return None
        if not answers.ignore.isdigit():
            raise UserError(f"--ignore {answers.ignore}: the masks hold numbers; give one of them, or none")
        return int(answers.ignore)
    if 255 not in values or len(values) < 3:
        return None
    if not _spread(values):
        return 255
    shown = ", ".join(map(str, values))
    raise Question(
        f"masks hold the values {shown}: 255 may be a class or stand for none", "--ignore 255 or --ignore none"
    )


def _ignored_color(answers: Answers) -> Color | None:
    if answers.ignore in (None, "none"):
        return None
    parts = str(answers.ignore).split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) <= 255 for part in parts):
        raise UserError(f"--ignore {answers.ignore}: the masks are in colour; give one as R,G,B, such as 224,224,192")
    red, green, blue = map(int, parts)
    return red, green, blue


def _of_colors(found: Census, names: tuple[str, ...], colors: tuple[Color, ...], ignored: Color | None) -> Coding:
    seen = [color for color, _ in found.pixels.most_common() if color != ignored]
    notes: tuple[str, ...] = ()
    if not colors:
        if names:
            raise UserError(
                f"--classes names {len(names)} classes, and the masks are in colour: say which is which with "
                f"--colors, in the same order, such as --colors {' '.join(map(_written, seen[:3]))}"
            )
        black = [(0, 0, 0)] if (0, 0, 0) in seen else []
        colors = tuple(black + sorted(color for color in seen if color != (0, 0, 0)))
        names = tuple("background" if color == (0, 0, 0) else f"class {n}" for n, color in enumerate(colors))
        notes = ("masks are in colour and nothing names the colours: see the contact sheet, then give --classes",)
    if len(names) != len(colors):
        raise UserError(f"{len(names)} names and {len(colors)} colours of classes; give as many of one as of the other")
    unknown = [color for color in seen if color not in colors]
    if unknown:
        raise UserError(
            f"{found.first[unknown[0]]}: the mask has the colour {_written(unknown[0])}, which is no class's; add it "
            f"to --colors, or leave it out with --ignore {_written(unknown[0])}"
        )
    meaning: dict[Any, int] = {color: number for number, color in enumerate(colors)}
    if ignored is not None:
        meaning[ignored] = IGNORED
    return Coding(meaning, names, colors, notes)


def _written(color: Iterable[int]) -> str:
    return ",".join(map(str, color))


@dataclass(frozen=True)
class Mask:
    """A mask file, and what its values mean."""

    path: Path
    coding: Coding

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def draw(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8 of class numbers.

        Raises:
            UserError: the mask cannot be read, is of another size, or has a value without a meaning.
        """
        pixels = read(self.path)
        if pixels.shape[:2] != (height, width):
            raise UserError(
                f"{self.path}: the mask is {pixels.shape[1]}x{pixels.shape[0]} and its image {width}x{height}; resize "
                "the mask with nearest-neighbour interpolation, or turn it as the image is"
            )
        drawn = np.full((height, width), IGNORED, np.uint8)
        known = np.zeros((height, width), bool)
        for value, number in self.coding.meaning.items():
            here = (pixels == value) if pixels.ndim == 2 else (pixels == np.array(value, np.uint8)).all(axis=2)
            drawn[here], known[here] = number, True
        if not known.all():
            y, x = np.argwhere(~known)[0]
            raise UserError(f"{self.path}: the value {pixels[y, x].tolist()} at ({x}, {y}) is no class's")
        return drawn
