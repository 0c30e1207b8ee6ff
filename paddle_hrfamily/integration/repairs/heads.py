"""Repairs of PaddleSeg's heads, so that they take the features of any backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paddle import nn

from paddle_hrfamily.patching import wrap


def auxiliary_of_any_width() -> None:
    """DNLNet's auxiliary output takes the 1024 channels of a ResNet-50, whatever the backbone has."""
    from paddleseg.models.dnlnet import DNLHead

    wrap(DNLHead, "__init__", _with_auxiliary_of_that_width)


def _with_auxiliary_of_that_width(init: Callable) -> Callable:
    from paddleseg.models import layers

    def build(self: nn.Layer, num_classes: int, in_channels: Sequence[int], *args: object, **kwargs: object) -> None:
        init(self, num_classes, in_channels, *args, **kwargs)
        if in_channels[0] != 1024:
            self.aux[0] = layers.ConvBNReLU(in_channels[0], 256, kernel_size=3, bias_attr=False)

    return build
