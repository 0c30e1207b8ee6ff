"""What a PaddleSeg config names, built; a component that cannot be built says which key of the config is to blame.

PaddleSeg's builder wraps every failure in the same RuntimeError, as text. The class here looks at types and arguments
before anything is constructed, and tells what a user can mend from what is a defect and keeps its traceback.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import paddle
import paddleseg
from paddleseg.cvlibs import SegBuilder
from paddleseg.utils.utils import CachedProperty

from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.data.label_checks import why_empty
from paddle_hrfamily.data.reading import channels_of
from paddle_hrfamily.errors import UserError, nearest
from paddle_hrfamily.integration import backbone_features

_PARTS = [
    "model",
    "optimizer",
    "lr_scheduler",
    "loss",
    "distill_loss",
    "train_dataset",
    "val_dataset",
    "val_transforms",
]
_MISTAKES = (AssertionError, KeyError, OSError, TypeError, ValueError)  # what components raise for bad arguments


class Builder(SegBuilder):
    """PaddleSeg's builder of model, data sets, optimizer and losses, with reasons."""

    def load_component_class(self, class_type: str) -> type:
        known = {name: item for registry in self.comp_list for name, item in registry.components_dict.items()}
        if class_type not in known:
            raise UserError(_unknown_type(class_type, list(known)))
        return super().load_component_class(class_type)

    def build_component(self, cfg: dict[str, Any]) -> object:
        where = _where(self.config.dic, cfg)
        if "type" not in cfg:
            raise UserError(f"{where}: the key type is missing, which names the component to build")
        _check_arguments(where, self.load_component_class(cfg["type"]), cfg)
        try:
            return _not_empty(super().build_component(cfg))
        except RuntimeError as error:  # "Tried to create …", around what the component raised
            cause = error.__context__
            if isinstance(cause, UserError):
                raise cause from None
            if isinstance(cause, _MISTAKES):
                raise UserError(_failed(where, cfg, cause)) from cause
            if cause is None:
                raise
            raise cause from None  # a defect: its own traceback says where

    @CachedProperty
    def train_dataset_class(self) -> type:
        """The class of the training data, which tells PaddleSeg how many classes and channels there are."""
        section = self.config.train_dataset_cfg
        found = self.load_component_class(section["type"])
        if not getattr(found, "from_config", False):
            return found
        numbers = {
            "NUM_CLASSES": section.get("num_classes"),
            "IGNORE_INDEX": section.get("ignore_index", 255),
            "IMG_CHANNELS": channels_of(section),
        }
        return type(found.__name__, (found,), numbers)

    def build_component_impl(self, component_class: Callable, **arguments: object) -> object:
        backbone_features.check(component_class, arguments)
        return super().build_component_impl(component_class, **arguments)


def _not_empty(component: Any) -> Any:
    if getattr(component, "file_list", None) == []:
        raise UserError(why_empty(component))
    return component


def _explained(part: str, build: Callable) -> Callable:
    """The property of that name, whose failures are UserErrors."""

    @functools.wraps(build)
    def explained(self: SegBuilder) -> object:
        if part == "lr_scheduler":
            _check_schedule(self.config.lr_scheduler_cfg)
        try:
            return build(self)
        except (AssertionError, RuntimeError) as error:  # PaddleSeg's own checks between the components
            if isinstance(error, AssertionError) or isinstance(error.__context__, _MISTAKES):
                raise UserError(f"{part}: {error}") from error
            raise

    return explained


def _named(build: Callable) -> Callable:
    """The property of a data set, which knows the names of its classes."""

    @functools.wraps(build)
    def named(self: SegBuilder) -> paddle.io.Dataset:
        dataset = build(self)
        dataset.class_names = class_table(self.config.dic).names  # for the table that evaluation prints
        return dataset

    return named


for _part in _PARTS:
    _build = _explained(_part, vars(SegBuilder)[_part].func)
    setattr(Builder, _part, CachedProperty(_named(_build) if _part == "val_dataset" else _build))


def _check_schedule(section: Mapping[str, Any]) -> None:
    schedules = [name for name in paddle.optimizer.lr.__all__ if name != "LRScheduler"]
    if section["type"] not in schedules:
        raise UserError(
            f"lr_scheduler.type {section['type']!r} is none of Paddle's{nearest(section['type'], schedules)}"
        )


def _unknown_type(name: str, known: list[str]) -> str:
    return (
        f"no component is called {name!r}{nearest(name, known)} (paddleseg is imported from "
        f"{Path(paddleseg.__file__).parent}; one of your own must be registered there)"
    )


def _check_arguments(where: str, component: Callable, section: Mapping[str, Any]) -> None:
    parameters = inspect.signature(component).parameters
    arguments = {key for key in section if key != "type"}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in sorted(arguments - set(parameters)):
            raise UserError(
                f"{where}: {component.__name__} has no argument {name}{nearest(name, list(parameters))}; "
                f"it takes {', '.join(parameters) or 'none'}"
            )
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in parameters.items():
        if name not in arguments and parameter.default is parameter.empty and parameter.kind not in variable:
            raise UserError(f"{where}: {component.__name__} needs the argument {name}")


def _failed(where: str, section: Mapping[str, Any], cause: BaseException) -> str:
    absent = {
        f"{where}.{key}": value
        for key, value in section.items()
        if isinstance(value, str) and key.endswith(("_root", "_path", "_dir")) and not Path(value).exists()
    }
    if absent and isinstance(cause, (OSError, ValueError)):
        found = "; ".join(
            f"{key} is {value!r}, and there is no {Path(value).absolute()}" for key, value in absent.items()
        )
        return f"{found}: put the data there, or name its place with --opts {next(iter(absent))}=…"
    reason = f"the key {cause} is missing" if isinstance(cause, KeyError) else str(cause).strip()
    return f"{where}: {reason or type(cause).__name__}"


def _where(config: Mapping[str, Any], section: Mapping[str, Any]) -> str:
    """The key of a section, such as train_dataset.transforms[2]; or of the first of its type."""
    places = list(_sections(config))
    same = [where for where, found in places if found == section]
    alike = [where for where, found in places if found.get("type") == section.get("type")]
    return (same or alike or [str(section.get("type"))])[0]


def _sections(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield where, node
        for key, value in node.items():
            yield from _sections(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _sections(value, f"{where}[{index}]")
