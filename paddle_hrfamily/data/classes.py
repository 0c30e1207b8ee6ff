"""Names and colours of the classes, for tables, legends and exported models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hrfamily_deploy.colors import palette
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import CLASSES, Color


@dataclass(frozen=True)
class ClassTable:
    """One name and one RGB colour (0..255 each) per class, in the order of the labels' values."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(f"{len(self.names)} names and {len(self.colors)} colours")

    def __len__(self) -> int:
        return len(self.names)

    def recolored(self, flat: Sequence[int]) -> ClassTable:
        """The same classes, the first of them in other colours: r g b r g b … (PaddleSeg's `custom_color`).

        Raises:
            UserError: not three values of 0..255 for each colour.
        """
        if len(flat) % 3 or not all(_is_byte(value) for value in flat):
            raise UserError(f"custom_color {list(flat)} must be whole numbers of 0..255, three for each colour")
        given = tuple(zip(flat[::3], flat[1::3], flat[2::3]))[: len(self)]
        return replace(self, colors=given + self.colors[len(given) :])


def class_table(config: Mapping[str, Any]) -> ClassTable:
    """The classes that a config (a `Config.dic`) is about.

    The top-level keys `class_names` (texts) and `class_colors` (RGB triples) come first, then what is known of the
    dataset's type, then "class 0", "class 1" … in PaddleSeg's colours.

    Raises:
        UserError: not as many names or colours as classes, or none of the config's keys tells how many there are.
    """
    known = _registered(_section(config, "val_dataset").get("type") or _section(config, "train_dataset").get("type"))
    names, colors = config.get("class_names"), config.get("class_colors")
    count = _count(config) or len(names or colors or (known.names if known else ()))
    if not count:
        raise UserError("the config does not tell how many classes there are; set model.num_classes")
    base = known if known and len(known) == count else _numbered(count)
    return ClassTable(
        _checked_names(names, count) if names is not None else base.names,
        _checked_colors(colors, count) if colors is not None else base.colors,
    )


def on_background(names: str) -> dict[str, Color]:
    """Classes of a data set without colours of its own: "background", black, then the names between the commas."""
    listed = names.split(", ")
    return {"background": (0, 0, 0), **dict(zip(listed, palette(len(listed))))}


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return config.get(key) or {}


def _count(config: Mapping[str, Any]) -> int | None:
    for key in ("model", "train_dataset", "val_dataset"):
        count = _section(config, key).get("num_classes")
        if count is not None:
            return count
    return None


def _numbered(count: int) -> ClassTable:
    return ClassTable(tuple(f"class {index}" for index in range(count)), palette(count))


def _checked_names(names: object, count: int) -> tuple[str, ...]:
    if not isinstance(names, (list, tuple)) or len(names) != count:
        raise UserError(f"class_names must be a list of {count} names, one per class, not {_shown(names)}")
    return tuple(map(str, names))


def _checked_colors(colors: object, count: int) -> tuple[Color, ...]:
    if not isinstance(colors, (list, tuple)) or len(colors) != count:
        raise UserError(f"class_colors must be a list of {count} colours, one per class, not {_shown(colors)}")
    for color in colors:
        if not isinstance(color, (list, tuple)) or len(color) != 3 or not all(_is_byte(value) for value in color):
            raise UserError(f"class_colors: {color!r} is no colour; write [red, green, blue] of 0..255")
    return tuple(map(tuple, colors))


def _shown(value: object) -> str:
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else repr(value)


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _registered(dataset_type: str | None) -> ClassTable | None:
    classes = CLASSES.get(dataset_type) if dataset_type is not None else None
    return None if classes is None else ClassTable(tuple(classes), tuple(classes.values()))
