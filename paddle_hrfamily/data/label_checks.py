"""Look at the labels before training: a wrong label file costs seconds here, and hours or a crashed GPU later.

Files are read the way PaddleSeg reads them: labels by PIL as they are, images by OpenCV.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from PIL import Image

from hrfamily_deploy.imaging import bands
from hrfamily_deploy.progress import progress
from paddle_hrfamily.data.reading import Reading, as_stored
from paddle_hrfamily.errors import UserError

# What a dataset adds to a label's values when it reads them, by the class whose __getitem__ it uses.
# Any other class follows a rule of its own: its values cannot be judged from the file.
_OFFSETS = {"Dataset": 0, "ADE20K": -1}
_SHOWN = 3
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap width and height; OpenCV obeys them
_EXIF_ORIENTATION = 0x0112


class SegmentationDataset(Protocol):
    """What is needed of a PaddleSeg dataset. `file_list` has [image path, label path or None] for every sample.

    `relabel` is optional: what values of the file are read as, where they differ.
    """

    file_list: list
    num_classes: int
    ignore_index: int


@runtime_checkable
class ExaminingDataset(Protocol):
    """One whose labels are no 8-bit images of classes, and that looks at its samples itself."""

    def examine(self, image: str, label: str | None) -> Iterable[str]:
        """What is wrong with a sample, as text."""


@dataclass(frozen=True)
class LabelScan:
    """What a scan that found no error saw.

    Attributes:
        checked: how many samples were opened.
        total: how many the dataset has.
        pixels: (256,) pixels per label value, as trained on, over the opened samples.
        warnings: what is suspicious, though it can be trained on.
    """

    checked: int
    total: int
    pixels: np.ndarray
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        spread = "" if self.checked == self.total else f" of {self.total}, evenly spread,"
        return f"labels: {self.checked}{spread} checked, no errors"


@dataclass(frozen=True)
class _Finding:
    problem: str
    file: str
    detail: str = ""


@dataclass
class _Sample:
    findings: list[_Finding] = field(default_factory=list)
    pixels: np.ndarray | None = None  # (256,), absent where the label could not be judged
    turned: bool = False  # by the image's EXIF orientation


def check_labels(dataset: SegmentationDataset, *, limit: int = 1000, seed: int = 0) -> LabelScan:
    """Open images and labels and hold them against `num_classes` and `ignore_index`; every path must exist.

    Up to `limit` samples all are opened, of more that many, evenly spread and drawn with `seed`. Takes some 10 ms a
    sample and thread; a progress bar shows after a second.

    Raises:
        UserError: one message for everything that was found, with the fix and the first files of each problem.
    """
    pairs = [tuple(pair[:2]) for pair in dataset.file_list]
    if not pairs:
        raise UserError(why_empty(dataset))
    findings = list(_check_list(pairs))
    chosen = [] if findings else _spread(len(pairs), limit, seed)
    samples = _open_all([pairs[index] for index in chosen], dataset)
    findings += [finding for sample in samples for finding in sample.findings]
    if findings:
        raise UserError(_message(findings, dataset, len(chosen), len(pairs)))
    pixels = sum((s.pixels for s in samples if s.pixels is not None), np.zeros(256, np.int64))
    warnings = (
        *_repeated(pairs),
        *_lopsided(pixels, dataset),
        *_blank(pairs, chosen, samples, dataset),
        *_turned(pairs, chosen, samples),
    )
    return LabelScan(len(chosen), len(pairs), pixels, warnings)


# -- the list --------------------------------------------------------------------------------------------------------


def _check_list(pairs: Iterable[tuple[str, str | None]]) -> Iterator[_Finding]:
    for image, label in pairs:
        if not os.path.isfile(image):
            yield _Finding("missing image", image)
        if label is None:
            continue
        if not os.path.isfile(label):
            yield _Finding("missing label", label)
        elif os.path.isfile(image) and os.path.samefile(image, label):
            yield _Finding("same file", label)
        elif not _belong_together(image, label):
            yield _Finding("mismatched", label, f"is paired with {image}")


def _belong_together(image: str, label: str) -> bool:
    """False for Cityscapes files of two frames: PaddleSeg pairs sorted lists, so one absent label shifts the rest."""
    frame, mark, _ = Path(image).name.partition("_leftImg8bit")
    other, label_mark, _ = Path(label).name.partition("_gtFine")
    return not (mark and label_mark) or frame == other


def _spread(total: int, limit: int, seed: int) -> list[int]:
    if total <= limit:
        return list(range(total))
    edges = np.linspace(0, total, limit + 1).astype(int)
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:]).tolist()


# -- one sample ------------------------------------------------------------------------------------------------------


def _open_all(pairs: list[tuple[str, str | None]], dataset: SegmentationDataset) -> list[_Sample]:
    look: Callable[[tuple[str, str | None]], _Sample]
    if isinstance(dataset, ExaminingDataset):
        look = partial(_examined, dataset=dataset)
    else:
        look = partial(_look, dataset=dataset, offset=_offset(dataset))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(progress(pool.map(look, pairs), "checking labels", len(pairs), unit="file", leave=False, delay=1))


def _offset(dataset: SegmentationDataset) -> int | None:
    reader = next(cls for cls in type(dataset).__mro__ if "__getitem__" in vars(cls))
    return _OFFSETS.get(reader.__name__)


def _examined(pair: tuple[str, str | None], dataset: ExaminingDataset) -> _Sample:
    return _Sample([_Finding("unfit", pair[1] or pair[0], problem) for problem in dataset.examine(*pair)])


def _look(pair: tuple[str, str | None], dataset: SegmentationDataset, offset: int | None) -> _Sample:
    image, label = pair
    sample = _Sample()
    try:
        size = image_size(image)
    except UNREADABLE as error:
        size = None
        sample.findings.append(_Finding("unreadable image", image, str(error)))
    else:
        with open(image, "rb") as stream:
            sample.turned = bands.exif_orientation(stream) > 1
        sample.findings += _misread(image, dataset)
    if label is None or offset is None:
        return sample
    try:
        with Image.open(label) as opened:
            opened.load()
    except UNREADABLE as error:
        sample.findings.append(_Finding("unreadable label", label, str(error)))
        return sample
    if opened.mode not in ("L", "P"):
        kind = "mode" if opened.mode in ("1", "I", "F") or opened.mode.startswith("I;") else "color"
        sample.findings.append(_Finding(kind, label, f"mode {opened.mode}"))
        return sample
    if size and size != opened.size:
        detail = "label {}x{}, image {}x{}".format(*opened.size, *size)
        if sample.turned and size == opened.size[::-1]:
            detail += ", turned as its EXIF orientation says: turn the label as well"
        sample.findings.append(_Finding("size", label, detail))
    sample.pixels = _as_trained_on(opened.histogram(), dataset, offset)
    sample.findings += _outside(label, opened.mode, sample.pixels, dataset)
    return sample


def _misread(image: str, dataset: SegmentationDataset) -> Iterator[_Finding]:
    """What of an image the data set would not read as it is."""
    transforms = getattr(dataset, "transforms", None)
    if isinstance(transforms, Reading) and as_stored(transforms.transforms):
        try:
            transforms.read(image)
        except UserError as error:
            yield _Finding("bands", image, str(error).removeprefix(f"{image}: "))
        return
    with open(image, "rb") as stream:
        lost = bands.loss(stream)
    if lost:
        yield _Finding("more than RGB", image, lost)


def _as_trained_on(histogram: list[int], dataset: SegmentationDataset, offset: int) -> np.ndarray:
    pixels = np.roll(np.array(histogram, np.int64), offset)
    for value, meaning in getattr(dataset, "relabel", {}).items():
        pixels[meaning] += pixels[value]
        pixels[value] = 0
    return pixels


def pixels_of_labels(dataset: SegmentationDataset, labels: list[str]) -> np.ndarray:
    """(len(labels), 256) pixels per value, as trained on, of labels that `check_labels` has found right; a bar shows.

    Raises:
        UserError: the data set reads its labels by a rule of its own, or has none as files.
    """
    offset = None if isinstance(dataset, ExaminingDataset) else _offset(dataset)
    if offset is None or None in labels:
        raise UserError(
            f"the classes of {type(dataset).__name__} cannot be counted: its labels are no images of classes"
        )

    def count(label: str) -> np.ndarray:
        with Image.open(label) as opened:
            return _as_trained_on(opened.histogram(), dataset, offset)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        counted = progress(pool.map(count, labels), "counting classes", len(labels), unit="file", leave=False, delay=1)
        return np.array(list(counted), np.int64).reshape(-1, 256)


# PIL's plugins raise all of these on damaged files.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, Image.DecompressionBombError)


def image_size(path: str) -> tuple[int, int]:
    """(width, height) as OpenCV will read it. Raises one of UNREADABLE for a damaged file, without decoding it all."""
    of_tiff = bands.size(path)
    if of_tiff is None and not cv2.haveImageReader(path):
        raise OSError("not an image that OpenCV reads")
    try:
        image = Image.open(path)
    except Image.UnidentifiedImageError:  # a TIFF of several bands, or a format that only OpenCV knows
        if of_tiff is not None:
            return of_tiff
        pixels = cv2.imread(path)
        if pixels is None:
            raise OSError("not an image that OpenCV reads") from None
        return pixels.shape[1], pixels.shape[0]
    with image:
        size = of_tiff or image.size
        # A PNG without EXIF data up front would be decoded in search of it.
        known = of_tiff is None and (image.format != "PNG" or "exif" in image.info)
        if known and image.getexif().get(_EXIF_ORIENTATION) in _ROTATED:
            size = size[::-1]
        if image.format == "PNG":
            image.verify()  # checksums only
        else:
            image.draft("L", (1, 1))  # a JPEG then decodes at an eighth of its size
            image.load()
    return size


def _outside(label: str, mode: str, pixels: np.ndarray, dataset: SegmentationDataset) -> list[_Finding]:
    bad = np.flatnonzero(pixels)
    bad = bad[(bad >= dataset.num_classes) & (bad != dataset.ignore_index)]
    if not bad.size:
        return []
    share = pixels[bad].sum() / pixels.sum()
    values = ", ".join(map(str, bad[:8])) + (f" … {bad[-1]}" if bad.size > 8 else "")
    return [_Finding("palette" if mode == "P" else "values", label, f"{values} ({share:.2%} of its pixels)")]


# -- what is said ----------------------------------------------------------------------------------------------------

_FIXES = {
    "missing image": "images are missing; check the paths in the list, which start from dataset_root",
    "missing label": "labels are missing; check the paths in the list, which start from dataset_root",
    "same file": "labels are the image itself; the second path of each line must be the label's",
    "mismatched": "labels belong to another frame: the numbers of images and labels differ; complete or remove them",
    "unreadable image": "images cannot be read; fetch them again or take them off the list",
    "bands": "images are not what NormalizeBands says; take them off the list, or have `hrfamily new` look again",
    "more than RGB": "images hold more than 8-bit RGB, and would be cut to it: read them as they are stored, by "
    "OwnData with NormalizeBands (`hrfamily new` writes both), or save them as 8-bit RGB",
    "unreadable label": "labels cannot be read; fetch them again or take them off the list",
    "color": "labels are colour images; map every colour to its class and save one 8-bit channel of values 0..{top}",
    "mode": "labels are not 8-bit; save them as 8-bit grey or palette PNG of values 0..{top} and {ignore}",
    "unfit": "samples do not fit the data set",
    "size": "labels differ from their image in size; resize them with nearest-neighbour interpolation",
    "values": "labels hold values outside 0..{top} that are not ignore_index {ignore}{fix}",
    "palette": "palette labels hold indices outside 0..{top} that are not ignore_index {ignore} (the indices, not the "
    "colours, are the classes){fix}",
}


def _message(findings: list[_Finding], dataset: SegmentationDataset, checked: int, total: int) -> str:
    by_problem = defaultdict(list)
    for finding in findings:
        by_problem[finding.problem].append(finding)
    scope = "paths of all" if not checked else "all" if checked == total else f"{checked}, evenly spread, of"
    lines = [f"the dataset cannot be trained on ({scope} {total} samples were checked):"]
    for problem, found in by_problem.items():
        fix = _FIXES[problem].format(top=dataset.num_classes - 1, ignore=dataset.ignore_index, fix=_fix(found, dataset))
        lines.append(f"- {len(found)} {fix}")
        lines += [f"    {item.file}{': ' * bool(item.detail)}{item.detail}" for item in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"    and {len(found) - _SHOWN} more")
    return "\n".join(lines)


def _fix(found: list[_Finding], dataset: SegmentationDataset) -> str:
    first = found[0].file
    if dataset.num_classes == 19 and ("labelIds" in first or "gtFine" in first):
        return (
            f"; these are Cityscapes labelIds, make labelTrainIds of them: hrfamily trainids {_cityscapes_root(first)}"
        )
    if any(item.file.lower().endswith((".jpg", ".jpeg")) for item in found):
        return "; JPEG changes values, labels must be PNG"
    shift = _offset(dataset)
    note = f" (this dataset adds {shift} to the file's values, 0 becoming 255)" if shift else ""
    return f"{note}; raise num_classes if they are classes, else set them to ignore_index"


def _cityscapes_root(label: str) -> str:
    parents = Path(label).parents
    return str(next((folder.parent for folder in parents if folder.name == "gtFine"), parents[0]))


def why_empty(dataset: SegmentationDataset) -> str:
    """What to tell about a data set without samples."""
    root = getattr(dataset, "dataset_root", None)
    name = f"{type(dataset).__name__} ({getattr(dataset, 'mode', 'no mode')}, dataset_root {root})"
    if root and next(Path(root).glob("gtFine/*/*/*_labelIds.png"), None):
        return f"{name} has no samples: labelTrainIds are missing; make them: hrfamily trainids {root}"
    return f"{name} has no samples: its list is empty; check dataset_root and the list's path"


# -- suspicious, but no error ----------------------------------------------------------------------------------------


def _repeated(pairs: list[tuple[str, str | None]]) -> Iterator[str]:
    repeats = len(pairs) - len(set(pairs))
    if repeats:
        yield f"{repeats} of {len(pairs)} lines repeat an earlier one"
    images = {image for image, _ in set(pairs)}
    if len(images) < len(set(pairs)):
        yield f"{len(set(pairs)) - len(images)} images are listed with more than one label"


def _lopsided(pixels: np.ndarray, dataset: SegmentationDataset) -> Iterator[str]:
    present = [value for value in np.flatnonzero(pixels) if value != dataset.ignore_index]
    if len(present) == 1 and dataset.num_classes > 1:
        yield f"every labelled pixel is class {present[0]}; a mask of 0 and 255 must be stored as 0 and 1"


def _turned(pairs: list[tuple[str, str | None]], chosen: list[int], samples: list[_Sample]) -> Iterator[str]:
    turned = [pairs[index][0] for index, sample in zip(chosen, samples) if sample.turned]
    if turned:
        yield (
            f"{len(turned)} images are turned as their EXIF orientation says, such as {turned[0]}: their labels must "
            "be drawn on the turned image"
        )


def _blank(
    pairs: list[tuple[str, str | None]], chosen: list[int], samples: list[_Sample], dataset: SegmentationDataset
) -> Iterator[str]:
    blank = [
        pairs[index][1]
        for index, sample in zip(chosen, samples)
        if sample.pixels is not None and set(np.flatnonzero(sample.pixels)) == {dataset.ignore_index}
    ]
    if blank:
        yield f"{len(blank)} labels are ignore_index {dataset.ignore_index} alone, such as {blank[0]}"
