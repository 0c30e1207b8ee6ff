"""Names (and colours) of classes as annotation tools leave them in a file beside the masks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Color

Table = dict[str, Optional[Color]]


def find(root: Path) -> Table | None:
    """The table of the first of FILES in the folder, or None.

    Raises:
        UserError: the file is not as it should be.
    """
    for name, read in FILES.items():
        path = root / name
        if path.is_file():
            table: Table = {}
            for number, line in _lines(path):
                entry = read(line)
                if entry is None:
                    raise UserError(f"{path}:{number}: {line!r} names no class; see how the other lines are written")
                if entry[0] in table:
                    raise UserError(f"{path}:{number}: the class {entry[0]!r} is there twice; give each its own name")
                table[entry[0]] = entry[1]
            if table:
                return table
    return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#") and line.strip().lower() != "name,r,g,b":
            yield number, line.strip()


Entry = tuple[str, Optional[Color]]


def _cvat(line: str) -> Entry | None:
    """name:r,g,b:parts:actions"""
    found = re.fullmatch(r"([^:]+):(\d+),(\d+),(\d+):[^:]*:[^:]*", line)
    return found and (found[1], _color(*found.groups()[1:]))


def _colors_first(line: str) -> Entry | None:
    """r g b name, as CamVid's label_colors.txt"""
    found = re.fullmatch(r"(\d+)\s+(\d+)\s+(\d+)\s+(.+)", line)
    return found and (found[4], _color(*found.groups()[:3]))


def _csv(line: str) -> Entry | None:
    """name,r,g,b"""
    found = re.fullmatch(r"([^,]+),\s*(\d+),\s*(\d+),\s*(\d+)", line)
    return found and (found[1], _color(*found.groups()[1:]))


def _name(line: str) -> Entry:
    return line, None


def _color(red: str, green: str, blue: str) -> Color:
    return int(red), int(green), int(blue)


FILES: dict[str, Callable[[str], Entry | None]] = {
    "labelmap.txt": _cvat,
    "label_colors.txt": _colors_first,
    "class_dict.csv": _csv,
    "classes.txt": _name,
    "class_names.txt": _name,
    "labels.txt": _name,
}
