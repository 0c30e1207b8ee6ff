"""Image-level features: averages over the image, or over windows of the training crop's size (SPGNet, appendix A).

A network trained on crops has only ever seen averages over an area of their size. On larger images GAP averages over
more; AP slides a window of the crop's size instead, and gives a map of averages, one wherever the window fits.

That map is smaller than the feature, and the paper does not say how it comes to lie on it. Here the decoder stretches
it over the whole feature, bilinearly, as it does every coarser map. The public code of a DeepLabV3 that is tested in
this way (mapillary/inplace_abn, scripts/modules/deeplab.py) leaves each average at the centre of its window and repeats
the outermost ones up to the border. On crops of the window's size both are GAP: that is TILED of table 12, the protocol
`tiled` of the configs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.layers import ConvBN

Pooling = Literal["ap", "gap"]


class ImagePooling(nn.Layer):
    """(N, in, h, w) -> (N, channels, 1, 1), or (N, channels, h - k_h + 1, w - k_w + 1) from AP; AP is for evaluation.

    Args:
        in_channels: of the feature that is averaged.
        channels: of the result.
        pooling: what evaluation does, "ap" or "gap"; training always averages over the whole crop.
        crop: height and width of the training crop in pixels, which with `stride` gives AP's window.
        stride: of the feature.

    Its batch norm sees one value an image in training. From a single image at a time, not synchronised over devices, it
    learns a variance of 0, which evaluation then divides by: train on two or more.
    """

    def __init__(
        self, in_channels: int, channels: int, *, pooling: Pooling, crop: Sequence[int], stride: int = 32
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.window = tuple(ceil(size / stride) for size in crop)
        self.project = ConvBN(in_channels, channels, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.training or self.pooling == "gap":
            return self.project(F.adaptive_avg_pool2d(x, 1))
        return self.project(_window_averages(x, self.window))


@paddle.jit.not_to_static  # the shape read here decides between constants and operators in an exported graph
def _window_averages(x: paddle.Tensor, window: Sequence[int]) -> paddle.Tensor:
    """Averages over every window inside (N, C, h, w); a window larger than the map is cut to it."""
    size = x.shape[2:]
    if min(size) > 0:
        return F.avg_pool2d(x, [min(k, s) for k, s in zip(window, size)], stride=1)
    # Every window that touches the map, cut to it; then the whole windows, or those that hold the whole map.
    touching = F.avg_pool2d(x, window, stride=1, padding=[k - 1 for k in window], exclusive=True)
    size = paddle.shape(x)[2:]
    window = paddle.to_tensor(window, dtype=size.dtype)
    return paddle.slice(touching, [2, 3], paddle.minimum(size, window) - 1, paddle.maximum(size, window))
