"""The few layers every network here is made of: convolution with batch norm, resizing, channel pooling."""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.errors import UserError

# How a strided convolution pads: "symmetric" is k // 2 on every side (official HRNet), "same" pads less at the
# top and left on even sizes (PaddleSeg's HRNet and the official U-HRNet). Equal at stride 1, and in output size.
Padding = Literal["symmetric", "same"]
PADDINGS: tuple[Padding, ...] = ("symmetric", "same")
# How coarse maps are brought to a finer grid; "nearest" is that of classification, pose and detection networks.
Upsampling = Literal["bilinear", "nearest"]
UPSAMPLINGS: tuple[Upsampling, ...] = ("bilinear", "nearest")


class ConvBN(nn.Layer):
    """k×k convolution, batch norm and, if `relu`, ReLU: (N, in, H, W) -> (N, out, ceil(H/stride), ceil(W/stride)).

    `bias` is for the few convolutions that published weights give a bias in front of their batch norm. Weights begin
    as in the official classification networks, where training starts: He initialisation over the outputs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: Padding = "symmetric",
        relu: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2 if padding == "symmetric" else "SAME",
            weight_attr=normal((2.0 / (out_channels * kernel_size**2)) ** 0.5),
            bias_attr=None if bias else False,
        )
        self.bn = nn.BatchNorm2D(out_channels)
        self.relu = relu

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


class PreActConv(nn.Layer):
    """Batch norm, ReLU, k×k convolution, in this order: (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2D(in_channels)
        self.conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            weight_attr=normal((2.0 / (out_channels * kernel_size**2)) ** 0.5),
            bias_attr=False,
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(F.relu(self.bn(x)))


def set_batch_norm_momentum(network: nn.Layer, momentum: float) -> None:
    """Let every batch norm of the network keep this share (0..1) of its running mean and variance in a step.

    Raises:
        UserError: a share outside 0..1.
    """
    if not 0 <= momentum <= 1:
        raise UserError(f"batch_norm_momentum is {momentum}; give 0..1, such as 0.9 (PyTorch's 0.1) or 0.99 (its 0.01)")
    for layer in network.sublayers():
        if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D, nn.SyncBatchNorm)):
            layer._momentum = momentum


def classifier(in_channels: int, num_classes: int) -> nn.Conv2D:
    """The 1×1 convolution that ends a head: (N, in, H, W) -> logits (N, num_classes, H, W); near 0 to begin with."""
    return nn.Conv2D(in_channels, num_classes, 1, weight_attr=normal(0.001))


def normal(std: float) -> paddle.ParamAttr:
    """Weights drawn from a normal distribution of mean 0."""
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, std))


@paddle.jit.not_to_static  # the shape read here is what decides between constants and operators in an exported graph
def resize_as(
    x: paddle.Tensor, reference: paddle.Tensor, align_corners: bool = False, mode: Upsampling = "bilinear"
) -> paddle.Tensor:
    """Resize (N, C, h, w) to the height and width of `reference` (N, any, H, W).

    In a static graph, sizes that are known become constants; only open ones are computed when the graph runs.
    """
    size = reference.shape[2:]
    if min(size) < 0:
        size = paddle.shape(reference)[2:]
    elif x.shape[2:] == size:
        return x
    return F.interpolate(x, size, mode=mode, align_corners=align_corners and mode == "bilinear")


@paddle.jit.not_to_static  # as in resize_as
def unflatten_as(x: paddle.Tensor, reference: paddle.Tensor) -> paddle.Tensor:
    """(N, C, H·W) -> (N, C, H, W), the height and width of `reference` (N, any, H, W)."""
    height, width = reference.shape[2:]
    if min(height, width) < 0:
        height, width = paddle.shape(reference)[2:]
    return x.reshape([0, x.shape[1], height, width])


def halve_channels(x: paddle.Tensor) -> paddle.Tensor:
    """Average neighbouring channels: (N, C, H, W) -> (N, C/2, H, W), U-HRNet's "pooling at channel dimension"."""
    return (x[:, 0::2] + x[:, 1::2]) * 0.5
