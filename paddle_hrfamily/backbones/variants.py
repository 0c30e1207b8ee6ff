"""What every backbone's constructor does with its arguments: find the variant, the padding, the weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

from paddle import nn

from paddle_hrfamily.errors import unknown
from paddle_hrfamily.layers import PADDINGS, Padding
from paddle_hrfamily.weights import load_weights, resolve
from paddle_hrfamily.weights.loading import Part

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


def pick_variant(family: str, variant: str, variants: Mapping[str, T]) -> T:
    """The table row of `variant`, or a UserError that offers the nearest names."""
    if variant not in variants:
        raise unknown(f"variant of {family}", variant, variants)
    return variants[variant]


def pick_padding(
    family: str, variant: str, padding: Padding | None, pretrained: str | None, default: Padding
) -> Padding:
    """The padding asked for, else what the published weights need, else the family's own."""
    if padding is None:
        return (pretrained and resolve(family, variant, pretrained).padding) or default
    if padding not in PADDINGS:
        raise unknown(f"padding of {family}", padding, PADDINGS)
    return padding


def load_pretrained(
    network: nn.Layer, family: str, variant: str, pretrained: str | None, part: Part = "all", model: str = ""
) -> None:
    """Fill that part of the network from `pretrained`, if any is asked for, and log what was loaded.

    `model` is the network's name in configs, where it is one whose whole weights may be published.
    """
    if pretrained:
        _LOG.info(load_weights(network, resolve(family, variant, pretrained, model).source, part=part))
