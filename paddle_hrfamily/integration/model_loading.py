"""The network that a config describes, with trained weights in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddle import nn
from paddleseg.cvlibs import Config
from paddleseg.utils import logger

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file
from paddle_hrfamily.integration.builder import Builder
from paddle_hrfamily.weights import load_weights, resolve


def weights_file(source: str | None) -> str | None:
    """`--model_path` as given; a checkpoint folder stands for the parameters in it.

    Raises:
        UserError: a folder without parameters.
    """
    if source is None or not Path(source).is_dir():
        return source
    for name in ("model.pdparams", "ema_model.pdparams"):
        if (Path(source) / name).is_file():
            return str(Path(source) / name)
    raise UserError(f"--model_path {source} is a folder without model.pdparams; name the file with the weights")


def network(config: Config, weights: str | None) -> tuple[Builder, nn.Layer]:
    """The builder and the network; with `weights`, what the config calls `pretrained` is not fetched.

    Raises:
        UserError: the network cannot be built, or the weights do not fit it.
    """
    if weights is not None:
        leave_pretrained(config.dic["model"])
    builder = config_file.builder(config)
    model = builder.model
    if weights is not None:
        logger.info(str(load_weights(model, weights)))
    return builder, model


def leave_pretrained(section: dict[str, Any]) -> None:
    """Take `pretrained` out of a network's section and those in it, but keep the padding that it would have chosen."""
    pretrained = section.pop("pretrained", None)
    if pretrained and "variant" in section and section.get("padding") is None:
        padding = resolve(section["type"], section["variant"], pretrained).padding
        section.update({"padding": padding} if padding else {})
    for part in section.values():
        if isinstance(part, dict):
            leave_pretrained(part)


def is_of_depth(model: nn.Layer) -> bool:
    """Whether the network's output is metres, without classes."""
    return getattr(model, "task", None) == "depth"
