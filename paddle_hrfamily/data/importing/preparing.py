"""From a source to label maps that can be trained on, and what is known of each image on the way.

Labels that are right as they lie stay where they are; the others are drawn into 8-bit PNGs with the classes' colours as
palette. Nothing is written beside the sources. What has been done is noted line by line, so that a second call goes on
where a first one was stopped, and does again only what has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hrfamily_deploy.files import Unwritable
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.progress import progress
from paddle_hrfamily.data.importing.masks import Mask, read
from paddle_hrfamily.data.importing.source import IGNORED, Item, Source, colors_of
from paddle_hrfamily.data.label_checks import UNREADABLE, image_size
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Color

NOTES, LABELS = "prepared.jsonl", "labels"
_SHOWN = 3


@dataclass(frozen=True)
class Record:
    """One image.

    Attributes:
        image: its file.
        label: the file of its label map, None where it has no label.
        split: the part that the source puts it in.
        width, height: pixels, as the image is shown.
        pixels: how many have each class, those of no class last; empty without a label.
        content: a digest of the image's file.
        stamp: what the record was made of.
    """

    image: str
    label: str | None
    split: str | None
    width: int
    height: int
    pixels: tuple[int, ...]
    content: str
    stamp: str


def prepare(source: Source, folder: Path) -> list[Record]:
    """Draw what has to be drawn into `folder` and count everything, in the order of the source's items.

    Raises:
        UserError: images or labels cannot be read or do not fit each other: how many, and the first of them; or the
            folder cannot be written.
    """
    notes = _Notes(folder / NOTES)
    drawer = _Drawer(source, folder, notes)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        done = pool.map(drawer.record, source.items)
        made = list(progress(done, "reading labels", len(source.items), delay=1))
    problems = [problem for problem in made if isinstance(problem, str)]
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        first = "\n  ".join(problems[:_SHOWN])
        raise UserError(problems[0] if len(problems) == 1 else f"{len(problems)} images have faults:\n  {first}{more}")
    return [record for record in made if isinstance(record, Record)]


class _Notes:
    """What has been done, a line each in a file, written as soon as it is done."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self.known = {record.image: record for record in self._read()}

    def add(self, record: Record) -> None:
        """Raises Unwritable if the disk takes no more."""
        line = f"\n{json.dumps(asdict(record))}\n"  # an own line, even after one that a kill has cut
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, self._file.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise Unwritable(self._file, error.strerror or str(error)) from error

    def _read(self) -> Iterator[Record]:
        if not self._file.is_file():
            return
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                fields = json.loads(line)
                yield Record(**{**fields, "pixels": tuple(fields["pixels"])})
            except (ValueError, TypeError, KeyError):  # the line that a kill has cut, or of another version
                continue


@dataclass(frozen=True)
class _Drawer:
    source: Source
    folder: Path
    notes: _Notes

    def record(self, item: Item) -> Record | str:
        """The item's record, or what is wrong with it."""
        try:
            return self._record(item)
        except Unwritable:
            raise
        except UserError as error:
            return str(error)
        except UNREADABLE as error:
            return f"{item.image}: the image cannot be read ({error}); get it again, or take it out"

    def _record(self, item: Item) -> Record:
        stamp = self._stamp(item)
        before = self.notes.known.get(str(item.image))
        if before is not None and before.stamp == stamp and (before.label is None or Path(before.label).is_file()):
            return before
        width, height = image_size(str(item.image))
        content = hashlib.blake2b(item.image.read_bytes(), digest_size=16).hexdigest()
        label: str | None = None
        pixels: tuple[int, ...] = ()
        if item.label is not None:
            drawn = item.label.draw(height, width)
            count = np.bincount(drawn.ravel(), minlength=256)
            classes = len(self.source.names)
            pixels = (*map(int, count[:classes]), int(count[IGNORED]))
            label = (
                str(item.label.files[0])
                if self._in_place(item)
                else str(self._written(item, self._stored(item, drawn)))
            )
        record = Record(str(item.image), label, item.split, width, height, pixels, content, stamp)
        self.notes.add(record)
        return record

    def _in_place(self, item: Item) -> bool:
        """Whether the label file can be read as it is: numbers in 8 bits, of which relabelling makes the classes."""
        if self.source.relabel is None or not isinstance(item.label, Mask):
            return False
        with Image.open(item.label.path) as opened:
            return opened.mode in ("L", "P")

    def _stored(self, item: Item, drawn: np.ndarray) -> np.ndarray:
        """What its new file is to hold: the mask's own values where files are relabelled when read, else classes."""
        if self.source.relabel is None or not isinstance(item.label, Mask):
            return drawn
        return read(item.label.path).astype(np.uint8)

    def _written(self, item: Item, drawn: np.ndarray) -> Path:
        digest = hashlib.blake2b(str(item.image).encode(), digest_size=4).hexdigest()
        path = self.folder / LABELS / f"{item.image.stem}-{digest}.png"  # images of one name may lie in many folders
        image_files.write_label(path, drawn, _palette(colors_of(self.source)))
        return path

    def _stamp(self, item: Item) -> str:
        """Changes with the files, and with what their values mean."""
        files = (item.image, *(item.label.files if item.label else ()))
        try:
            states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        except OSError as error:
            raise UserError(
                f"{error.filename}: cannot be read ({error.strerror}); put it there, or take it out"
            ) from error
        meaning = sorted(map(str, item.label.coding.meaning.items())) if isinstance(item.label, Mask) else []
        told = repr((states, meaning, self.source.names, item.split))
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _palette(colors: Sequence[Color]) -> list[Color]:
    """Of 256: the classes' colours, black, and VOC's off-white for no class."""
    return [*colors, *[(0, 0, 0)] * (IGNORED - len(colors)), (224, 224, 192)]


def doubles(records: Iterable[Record]) -> list[tuple[Record, ...]]:
    """Images of the same content, together."""
    by_content: dict[str, list[Record]] = {}
    for record in records:
        by_content.setdefault(record.content, []).append(record)
    return [tuple(found) for found in by_content.values() if len(found) > 1]


def leaks(records: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Pairs of equal images that the source puts into different parts."""
    return [
        (found[0], other)
        for found in doubles(record for record in records if record.split)
        for other in found[1:]
        if other.split != found[0].split
    ]
