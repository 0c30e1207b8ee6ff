"""Residual blocks (ResNet v1.5: a bottleneck strides in its 3×3)."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.layers import ConvBN


class Residual(nn.Layer):
    """relu(body(x) + shortcut(x)); the shortcut is a 1×1 convolution where shapes differ, else the identity.

    Without `relu` the sum is left as it is, for networks that fuse streams before their activation (DDRNet).
    """

    expansion: int

    def __init__(self, in_channels: int, width: int, stride: int = 1, *, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        out_channels = width * self.expansion
        reshapes = stride != 1 or in_channels != out_channels
        self.downsample = ConvBN(in_channels, out_channels, 1, stride=stride, relu=False) if reshapes else None

    def body(self, x: paddle.Tensor) -> paddle.Tensor:
        """The residual branch, without its last ReLU."""
        raise NotImplementedError

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.body(x) + shortcut
        return F.relu(x) if self.relu else x


class BasicBlock(Residual):
    """Two 3×3 convolutions: (N, in, H, W) -> (N, width, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1, *, relu: bool = True) -> None:
        super().__init__(in_channels, width, stride, relu=relu)
        self.conv1 = ConvBN(in_channels, width, 3, stride=stride)
        self.conv2 = ConvBN(width, width, 3, relu=False)

    def body(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv2(self.conv1(x))


class Bottleneck(Residual):
    """1×1, 3×3, 1×1 convolutions: (N, in, H, W) -> (N, expansion·width, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1, *, relu: bool = True) -> None:
        super().__init__(in_channels, width, stride, relu=relu)
        self.conv1 = ConvBN(in_channels, width, 1)
        self.conv2 = ConvBN(width, width, 3, stride=stride)
        self.conv3 = ConvBN(width, width * self.expansion, 1, relu=False)

    def body(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv3(self.conv2(self.conv1(x)))


def block_chain(
    block: type[Residual], in_channels: int, width: int, count: int, stride: int = 1, *, last_relu: bool = True
) -> nn.Sequential:
    """`count` blocks, the first of which takes `in_channels` and strides; the last may go without its ReLU."""
    channels = [in_channels] + [width * block.expansion] * (count - 1)
    return nn.Sequential(
        *(block(c, width, 1 if i else stride, relu=last_relu or i < count - 1) for i, c in enumerate(channels))
    )
