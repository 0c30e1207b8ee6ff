"""PaddleSeg's configs, read and checked: a mistake in one ends with a one-line reason, not with a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paddleseg.cvlibs import Config
from paddleseg.utils.utils import get_in_channels

from paddle_hrfamily.errors import UserError, nearest
from paddle_hrfamily.integration import config_sources
from paddle_hrfamily.integration.builder import Builder
from paddle_hrfamily.integration.config_sources import packaged_configs
from paddle_hrfamily.weights.fetching import parameters_in

TOP_LEVEL = [
    "batch_size",
    "iters",
    "train_dataset",
    "val_dataset",
    "test_config",
    "protocols",
    "optimizer",
    "lr_scheduler",
    "loss",
    "distill_loss",
    "model",
    "to_static_training",
    "sampler",
    "classes",
    "class_names",
    "class_colors",
]
_REQUIRED = ["batch_size", "iters", "train_dataset", "optimizer", "lr_scheduler", "loss", "model"]
_TYPED = ["train_dataset", "val_dataset", "optimizer", "lr_scheduler", "model"]
_NOT_A_FLOAT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 wants a point and a sign: 1.0e-3


def find_config(path: str | Path | None) -> Path:
    """The file as given, else the one of that name among this package's configs.

    Raises:
        UserError: no such file; the message has the nearest names.
    """
    if path is None:
        raise UserError("--config FILE is missing; this package's own are " + ", ".join(sorted(packaged_configs())))
    given = Path(path)
    if given.suffix not in (".yml", ".yaml"):
        raise UserError(f"--config {path} is not a YAML file; its name must end in .yml or .yaml")
    packaged = packaged_configs()
    candidate = given if given.is_file() else packaged.get(given.name)
    if candidate is None:
        raise UserError(f"--config {path} does not exist{nearest(given.name, packaged)}")
    return candidate


class _Config(Config):
    """PaddleSeg's, whose `_base_` finds this package's configs by name too."""

    @classmethod
    def _parse_from_yaml(cls, path: str, *_: object, **__: object) -> dict[str, Any]:
        return config_sources.read(Path(path))


def load(
    path: str | Path | None,
    *,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    iters: int | None = None,
    opts: list[str] | None = None,
) -> Config:
    """Read a config with its bases, apply the command line's changes, and check it.

    Args:
        path: as `find_config` takes it.
        learning_rate, batch_size, iters: replace the config's, where given.
        opts: "key.sub=value" each, as PaddleSeg's --opts.

    Raises:
        UserError: the file is missing, is no YAML, lacks a section, contradicts itself, or an option fits nothing.
    """
    file = find_config(path)
    content = config_sources.read(file)
    _check_options(content, opts or [])
    if learning_rate and "lr_scheduler" not in content:
        raise UserError(f"--learning_rate needs the section lr_scheduler, which {file} does not have")
    numbers = _numbers_of_classes(content, file)
    try:
        config = _Config(
            str(file), learning_rate=learning_rate, batch_size=batch_size, iters=iters, opts=[*numbers, *(opts or [])]
        )
    except RuntimeError as error:  # the checker's, with its reason in the last line
        _check_sections(content, file)
        raise UserError(f"{file}: {str(error).splitlines()[-1]}") from error
    _check_sections(config.dic, file)
    _name_classes(config.dic)
    _open_folders(config.dic["model"], "model")
    for where, value in _leaves(config.dic):
        if isinstance(value, str) and _NOT_A_FLOAT.fullmatch(value):
            raise UserError(f"{file}: {where} is the text {value!r} to YAML; as a number it is {_as_number(value)}")
    return config


def resolved(config: Config) -> dict[str, Any]:
    """The whole config as a YAML file may hold it: `load` makes the same of that."""
    content = plain(config.dic)
    for key in ("class_names", "class_colors") if "classes" in content else ():
        content.pop(key, None)
    return content


def builder(config: Config) -> Builder:
    """The builder of model, data sets, optimizer and losses. What it builds raises UserError where it fails."""
    return Builder(config)


def in_channels(config: Config) -> int:
    """Channels of the images that the config's network takes."""
    dataset = builder(config).train_dataset_class
    return get_in_channels(config.model_cfg) or getattr(dataset, "IMG_CHANNELS", 3)


def use_data_format(config: Config, data_format: str) -> None:
    """Set the layout of images, for the one model of PaddleSeg's that takes another than NCHW.

    Raises:
        UserError: NHWC for any other model.
    """
    if data_format == "NCHW":
        return
    model = config.dic["model"]
    if data_format != "NHWC" or model["type"] != "DeepLabV3P":
        raise UserError(f"--data_format {data_format}: NCHW always works, NHWC with the model DeepLabV3P alone")
    for section in (model, model["backbone"], *config.dic["loss"]["types"]):
        section["data_format"] = data_format


# Checking


def _check_options(content: dict[str, Any], opts: list[str]) -> None:
    for option in opts:
        key, separator, value = option.partition("=")
        if not separator or not key or "=" in value:
            raise UserError(
                f"--opts {option}: write KEY=VALUE with one '=', such as batch_size=2 or model.num_classes=5"
            )
        *parents, last = key.split(".")
        node, walked = content, ""
        for name in parents:
            walked = f"{walked}.{name}" if walked else name
            if not isinstance(node, dict) or name not in node:
                alike = nearest(name, node) if isinstance(node, dict) else ""
                raise UserError(f"--opts {option}: the config has no key {walked}{alike}")
            node = node[name]
        if not isinstance(node, dict):
            raise UserError(f"--opts {option}: {walked} is a {type(node).__name__}, so it has no key {last}")
        if not parents and last not in {*node, *TOP_LEVEL}:
            raise UserError(f"--opts {option}: no config has the key {last}{nearest(last, [*node, *TOP_LEVEL])}")


def _check_sections(content: dict[str, Any], file: Path) -> None:
    for key in _REQUIRED:
        if key not in content:
            raise UserError(f"{file}: the key {key} is missing{nearest(key, content)}")
    for key in _TYPED:
        section = content.get(key)
        if key in content and (not isinstance(section, dict) or "type" not in section):
            raise UserError(f"{file}: {key} must be a mapping with the key type, and is {section!r}")
    for key in ("batch_size", "iters"):
        if type(content[key]) is not int or content[key] < 1:
            raise UserError(f"{file}: {key} must be a whole number from 1 up, and is {content[key]!r}")


def _numbers_of_classes(content: dict[str, Any], file: Path) -> list[str]:
    """`num_classes` of every section that leaves it to the top-level key `classes`, as options."""
    classes = content.get("classes")
    if classes is None:
        return []
    if not isinstance(classes, (dict, list)) or not classes:
        raise UserError(f"{file}: classes must map names to colours, or list names, and is {classes!r}")
    for key in ("class_names", "class_colors"):
        if key in content:
            raise UserError(f"{file}: has both classes and {key}; classes says both, so leave out {key}")
    options = []
    for key in ("model", "train_dataset", "val_dataset"):
        section = content.get(key)
        if not isinstance(section, dict):
            continue
        given = section.get("num_classes", len(classes))
        if given != len(classes):
            raise UserError(f"{file}: {key}.num_classes is {given} and classes names {len(classes)}; leave it out")
        if key == "model" or section.get("type") in ("Dataset", "OwnData"):
            options.append(f"{key}.num_classes={len(classes)}")
    return options


def _name_classes(config: dict[str, Any]) -> None:
    """Put `class_names` and `class_colors` in the place of `classes`: it is what PaddleSeg's side is told."""
    classes = config.get("classes")
    if isinstance(classes, dict):
        config["class_colors"] = [list(color) for color in classes.values()]
    if classes:
        config["class_names"] = [str(name) for name in classes]


def _open_folders(section: dict[str, Any], where: str) -> None:
    """Put the file with the parameters in the place of a checkpoint's folder, of which PaddleSeg's models know nothing.

    Raises:
        UserError: a folder without parameters.
    """
    for key, value in section.items():
        if isinstance(value, dict):
            _open_folders(value, f"{where}.{key}")
        elif key == "pretrained" and isinstance(value, str) and Path(value).is_dir():
            try:
                section[key] = str(parameters_in(Path(value)))
            except UserError as error:
                raise UserError(f"{where}.{key}: {error}") from None


def plain(node: Any) -> Any:
    """The same of mappings and lists alone, as YAML gives it back: options may have put tuples in."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return [plain(value) for value in node] if isinstance(node, (list, tuple)) else node


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{where}[{index}]")
    else:
        yield where, node


def _as_number(text: str) -> str:
    mantissa, exponent = re.split("[eE]", text)
    point = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{point}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"
