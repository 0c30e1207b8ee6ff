"""The config that weights hold: `hrfamily train` writes it beside each checkpoint, `export` into the folder it makes.

It is the whole of what they were trained with: its bases merged in, the command line's changes made, the classes named.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paddleseg.cvlibs import Config, manager

from paddle_hrfamily.checkpointing.snapshot import CONFIG
from paddle_hrfamily.data.classes import ClassTable, class_table
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file
from paddle_hrfamily.weights.fetching import PARAMETERS, parameters_in

# Weights take the place of the first, their file states the second, and a flag may set the third.
_LEFT_OUT = ("pretrained", "padding", "data_format")
_SHOWN = 3  # differences in a message
_Difference = tuple[str, object, object]  # key, value here, value in what the weights hold


def described(config: Config) -> dict[str, Any]:
    """The whole config as YAML may hold it, with the names and colours of its classes."""
    content = config_file.resolved(config)
    table = _classes(config)
    if "classes" not in content and table is not None:
        content["class_names"] = list(table.names)
        content["class_colors"] = [list(color) for color in table.colors]
    return content


def beside(weights: str | Path | None) -> Path | None:
    """The config that a checkpoint's or an exported folder holds, given as itself or as a checkpoint's parameters."""
    if weights is None:
        return None
    path = Path(weights)
    if path.is_dir() and not (path / CONFIG).is_file():
        try:
            path = parameters_in(path)
        except UserError:  # whoever wants the weights says so
            return None
    folder = path if path.is_dir() else path.parent if path.name in PARAMETERS else None
    return folder / CONFIG if folder is not None and (folder / CONFIG).is_file() else None


def load(given: str | Path | None, weights: str | Path | None, *, opts: list[str] | None = None) -> Config:
    """`config_file.load` of the config given, else of the one that the weights hold.

    Raises:
        UserError: neither is there, it cannot be read, or the two contradict each other.
    """
    held = beside(weights)
    if given is None and held is None and weights is not None:
        raise UserError(f"--config FILE is missing, and {weights} holds none: name the one that it was trained with")
    config = config_file.load(held if given is None else given, opts=opts)
    if given is not None and held is not None:
        fix = "leave out --config (--opts changes what the weights hold), or name the weights that belong to it"
        check(config, f"--config {given}", held, fix)
    return config


def check(config: Config, name: str, held: Path, fix: str) -> None:
    """Hold a config against the one that weights hold: the network and the classes, not the data and the schedule.

    Args:
        name, fix: of the config, and what to do, for the message.

    Raises:
        UserError: they contradict each other.
    """
    found = list(_contradictions(config, config_file.load(held)))
    if found:
        shown = ", ".join(f"{key} is {here!r} and {there!r}" for key, here, there in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UserError(f"{name} and {held}, which the weights hold, contradict each other: {shown}{more}; {fix}")


def _contradictions(config: Config, held: Config) -> Iterator[_Difference]:
    yield from _in_section(config_file.resolved(config)["model"], config_file.resolved(held)["model"], "model")
    ours, theirs = _classes(config), _classes(held)
    if ours is None or theirs is None:
        return
    if len(ours) != len(theirs):
        yield "the number of classes", len(ours), len(theirs)
    elif _is_named(ours) and _is_named(theirs):
        for index, (here, there) in enumerate(zip(ours.names, theirs.names)):
            if here != there:
                yield f"class {index}", here, there


def _in_section(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> Iterator[_Difference]:
    if ours.get("type") != theirs.get("type"):
        yield f"{where}.type", ours.get("type"), theirs.get("type")
        return
    for key in dict.fromkeys([*ours, *theirs]):
        here, there = (_value(section, key) for section in (ours, theirs))
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _in_section(here, there, f"{where}.{key}")
        elif key not in _LEFT_OUT and here != there:
            yield f"{where}.{key}", here, there


def _value(section: Mapping[str, Any], key: str) -> object:
    """What a component's section says, or leaves to the default of its constructor."""
    if key in section:
        return section[key]
    for registered in (manager.MODELS, manager.BACKBONES):
        component = registered.components_dict.get(section.get("type"))
        parameter = inspect.signature(component).parameters.get(key) if component else None
        if parameter is not None and parameter.default is not parameter.empty:
            return config_file.plain(parameter.default)
    return None


def _classes(config: Config) -> ClassTable | None:
    try:
        return class_table(config.dic)
    except UserError:  # it has none, or does not tell how many
        return None


def _is_named(table: ClassTable) -> bool:
    """Names that somebody gave: not "class 0", "class 1" …"""
    return table.names != tuple(f"class {index}" for index in range(len(table)))
