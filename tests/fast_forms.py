"""Networks for tests of fast exports: batch norms that have seen something, and one of the family in miniature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn

from paddle_hrfamily.layers import ConvBN
from paddle_hrfamily.models import HRNetSeg

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Streams(nn.Layer):
    """A backbone of one convolution a stream, at strides 4, 8, 16 and 32."""

    def __init__(self, in_channels: int = 3, channel_pool: bool = False, channels: Sequence[int] = (4, 6, 8, 10)):
        super().__init__()
        self.feat_channels, self.feat_strides = list(channels), [4, 8, 16, 32]
        self.channel_pool = channel_pool
        widths = [in_channels, *channels]
        self.convs = nn.LayerList(
            ConvBN(before, after, 3, stride=4 if before is in_channels else 2)
            for before, after in zip(widths, widths[1:])
        )

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        streams = []
        for conv in self.convs:
            image = conv(image)
            streams.append(image)
        return streams


def settled(model: nn.Layer, channels: int = 3) -> nn.Layer:
    """The network in evaluation, with batch norms of other weights than 1 and 0 and with statistics of its features,
    and with classifiers that are not nearly 0."""
    random = np.random.default_rng(0)
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer.weight.set_value(random.uniform(0.7, 1.3, layer.weight.shape).astype("float32"))
            layer.bias.set_value(random.normal(0, 0.3, layer.bias.shape).astype("float32"))
            layer._momentum = 0.0  # what is seen last counts alone
        elif isinstance(layer, nn.Conv2D) and layer.weight.std() < 0.005:
            layer.weight.set_value(300 * layer.weight)
    model.train()
    with paddle.no_grad():
        model(paddle.to_tensor(random.standard_normal((2, channels, 96, 128), dtype=np.float32)))
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer._momentum = 0.9
            layer._variance.set_value(layer._variance + 0.1)  # of what is pooled to a point there is next to none
    model.eval()
    return model


def balanced(backbone: nn.Layer, classes: int = 5, channels: int = 3) -> HRNetSeg:
    """A settled network whose classes are about as likely as each other."""
    paddle.seed(7)
    model = settled(HRNetSeg(backbone, num_classes=classes), channels)
    noise = paddle.to_tensor(np.random.default_rng(1).standard_normal((2, channels, 64, 96), dtype=np.float32))
    with paddle.no_grad():
        logits = model(noise)[0]
    scale, classify = 1 / logits.std((0, 2, 3)).mean(), model.head.classify
    classify.bias.set_value((classify.bias - logits.mean((0, 2, 3))) * scale)
    classify.weight.set_value(classify.weight * scale)
    return model


def pictures(batch: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """(N, H, W, C) uint8."""
    return np.random.default_rng(height).integers(0, 256, (batch, height, width, channels), np.uint8)


def normalised(picture: np.ndarray, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> paddle.Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) as evaluation makes it."""
    planes = ((picture / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    return paddle.to_tensor(np.ascontiguousarray(planes, np.float32))
