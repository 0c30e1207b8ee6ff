"""The network that a config describes, with trained weights in it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle import nn
from paddleseg.cvlibs import Config
from paddleseg.utils import logger

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, normalization
from paddle_hrfamily.integration.builder import Builder
from paddle_hrfamily.registry import BACKBONES
from paddle_hrfamily.weights import load_weights, resolve
from paddle_hrfamily.weights.fetching import parameters_in
from paddle_hrfamily.weights.published import about, is_short_name, resolve_network


def weights_file(source: str | None, config: Config | None = None) -> str | None:
    """`--model_path` as given; the folder of a checkpoint, or of a training, stands for the parameters in it.

    With the config, a short name stands for the address of weights that are published for its whole network.

    Raises:
        UserError: a folder without parameters, or no weights of that name.
    """
    if source is not None and config is not None and is_short_name(source):
        return _published(source, config.dic["model"])
    return str(parameters_in(Path(source))) if source is not None and Path(source).is_dir() else source


def _published(name: str, model: dict[str, Any]) -> str:
    """The address of weights of that name for the network of a config's section `model`."""
    backbone = model.get("backbone")
    if not isinstance(backbone, dict):
        raise UserError(f"--model_path {name}: there is no such file, and no weights are published for {model['type']}")
    return resolve_network(model["type"], str(backbone.get("type")), _variant(backbone), name).source


def _variant(backbone: dict[str, Any]) -> str:
    """Which of its networks a backbone's section asks for; left open, its constructor's choice."""
    parameters = _parameters(backbone)
    default = parameters["variant"].default if "variant" in parameters else ""
    return str(backbone.get("variant", default))


def _parameters(backbone: dict[str, Any]) -> Mapping[str, inspect.Parameter]:
    """What the constructor of a section's component takes, if it is one of the backbones here."""
    registered = BACKBONES.get(str(backbone.get("type")))
    return inspect.signature(registered.component).parameters if registered else {}


def network(config: Config, weights: str | None) -> tuple[Builder, nn.Layer]:
    """The builder and the network; with `weights`, what the config calls `pretrained` is not fetched.

    Raises:
        UserError: the network cannot be built, or the weights do not fit it.
    """
    if weights is not None:
        leave_pretrained(config.dic["model"], weights)
    builder = config_file.builder(config)
    model = builder.model
    if weights is not None:
        normalization.check(config.dic, about(weights), weights)
        logger.info(str(load_weights(model, weights)))
    return builder, model


def leave_pretrained(section: dict[str, Any], weights: str | None = None) -> None:
    """Take `pretrained` out of a network's section and those in it, but keep the padding that it would have chosen.

    Where padding is left open, published `weights` choose theirs instead.
    """
    pretrained = section.pop("pretrained", None)
    if "padding" in _parameters(section) and section.get("padding") is None:
        published = about(weights) or (resolve(section["type"], _variant(section), pretrained) if pretrained else None)
        section.update({"padding": published.padding} if published and published.padding else {})
    for part in section.values():
        if isinstance(part, dict):
            leave_pretrained(part, weights)


def is_of_depth(model: nn.Layer) -> bool:
    """Whether the network's output is metres, without classes."""
    return getattr(model, "task", None) == "depth"
