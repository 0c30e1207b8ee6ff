"""The context at the end of DDRNet's coarse stream, at 1/64 of the image.

It is the paper's pyramid (DAPPM), the plain pyramid that the paper compares it with (PPM), or none. Each maps
(N, in, h, w) to (N, out, h, w), for any h, w from 1 up.
"""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn

from paddle_hrfamily.errors import unknown
from paddle_hrfamily.layers import PreActConv, resize_as

Context = Literal["dappm", "ppm", "none"]
CONTEXTS: tuple[Context, ...] = ("dappm", "ppm", "none")

# Kernels of the strided poolings, at strides and paddings of half their size: those of the official code and its
# weights. Equation 2 writes 8, 16 and 32 at the same strides.
_KERNELS = (5, 9, 17)
_BINS = (6, 3, 2, 1)  # grids of the plain pyramid (table IV)


class DAPPM(nn.Layer):
    """Deep aggregation pyramid pooling: every coarser scale is mixed into the finer one before (figure 5, equation 2).

    Args:
        in_channels, width, out_channels: of the map, of every scale, of the result.
        exclusive: leave the padding out of averages at the border, as PaddleSeg's network does; the official one
            counts its zeros.
        align_corners: corner handling of the resizes.
    """

    def __init__(
        self, in_channels: int, width: int, out_channels: int, *, exclusive: bool = False, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        strided = (nn.AvgPool2D(k, stride=k // 2, padding=k // 2, exclusive=exclusive) for k in _KERNELS)
        self.pools = nn.LayerList([*strided, nn.AdaptiveAvgPool2D(1)])
        self.finest = PreActConv(in_channels, width)
        self.scales = nn.LayerList(PreActConv(in_channels, width) for _ in self.pools)
        self.mixes = nn.LayerList(PreActConv(width, width, 3) for _ in self.pools)
        self.compress = PreActConv(width * (1 + len(self.pools)), out_channels)
        self.shortcut = PreActConv(in_channels, out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        scales = [self.finest(x)]
        for pool, scale, mix in zip(self.pools, self.scales, self.mixes):
            context = resize_as(scale(pool(x)), x, self.align_corners)
            scales.append(mix(context + scales[-1]))
        return self.compress(paddle.concat(scales, axis=1)) + self.shortcut(x)


class PPM(nn.Layer):
    """Pyramid pooling in the simplified form of SwiftNet, which table X holds against DAPPM.

    The map is reduced first; a quarter of the width for each of the grids is then put beside it, and all mixed by 1×1.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.reduce = PreActConv(in_channels, width)
        self.pools = nn.LayerList(nn.AdaptiveAvgPool2D(bins) for bins in _BINS)
        self.scales = nn.LayerList(PreActConv(width, width // len(_BINS)) for _ in _BINS)
        self.compress = PreActConv(width + width // len(_BINS) * len(_BINS), out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.reduce(x)
        scales = (resize_as(scale(pool(x)), x, self.align_corners) for pool, scale in zip(self.pools, self.scales))
        return self.compress(paddle.concat([x, *scales], axis=1))


def context_module(
    name: Context, in_channels: int, width: int, out_channels: int, *, exclusive: bool, align_corners: bool
) -> nn.Layer:
    """The context of that name. "none" is what DAPPM is without its scales: the projection alone.

    Raises:
        UserError: no such name.
    """
    if name == "dappm":
        return DAPPM(in_channels, width, out_channels, exclusive=exclusive, align_corners=align_corners)
    if name == "ppm":
        return PPM(in_channels, width, out_channels, align_corners=align_corners)
    if name == "none":
        return PreActConv(in_channels, out_channels)
    raise unknown("context of DDRNet", name, CONTEXTS)
