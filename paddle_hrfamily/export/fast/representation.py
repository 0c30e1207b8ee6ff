"""HRNetV2's head with its mixing convolution on each stream by itself.

A 1×1 convolution of concatenated maps is the sum of one on each, and commutes with bilinear resizing: at stride 16 it
takes a sixteenth of the work that it takes at stride 4. But it is the mixed channels that are then resized, so it pays
for the coarse streams alone; the fine ones are concatenated as in the paper's figure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.export.fast.interpolation import resized_sum
from paddle_hrfamily.heads import HRNetV2Head
from paddle_hrfamily.layers import ConvBN
from paddle_hrfamily.multires import representation

# From this multiple of the finest stream's stride on, a stream is mixed at its own resolution. Measured on HRNet-W18,
# W48 and U-HRNet-W18-small in Paddle Inference and OpenVINO: from 2 on it is slower, at 8 alone it gains half as much.
COARSE = 4


class StreamwiseHead(nn.Layer):
    """features [(N, feat_channels[i], h_i, w_i)], finest first -> [logits (N, num_classes, h_0, w_0)], in evaluation.

    Args:
        head: whose weights are taken.
        feat_channels, feat_strides: of the features.
    """

    def __init__(self, head: HRNetV2Head, feat_channels: Sequence[int], feat_strides: Sequence[int]) -> None:
        super().__init__()
        self.channel_pool = head.channel_pool
        self.classify = head.classify
        self.fine = sum(stride < COARSE * feat_strides[0] for stride in feat_strides)
        weight, bias = folded(head.mix)
        pooled = [channels // (2 if head.channel_pool else 1) for channels in feat_channels]
        parts = np.split(weight, np.cumsum(pooled)[:-1], axis=1)
        self.mix_fine = convolution(np.concatenate(parts[: self.fine], axis=1), bias)
        # Averaging channel pairs and mixing is mixing all of them with half the weight.
        twice = [part.repeat(2, axis=1) / 2 if head.channel_pool else part for part in parts[self.fine :]]
        self.mix_coarse = nn.LayerList(convolution(part) for part in twice)

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        fine = self.mix_fine(representation(feats[: self.fine], self.channel_pool, align_corners=False))
        coarse = [mix(x) for mix, x in zip(self.mix_coarse, feats[self.fine :])]
        return [self.classify(F.relu(fine + resized_sum(coarse, fine)))]


def folded(layer: ConvBN) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the one convolution that `layer`'s convolution and batch norm are in evaluation."""
    norm = layer.bn
    scale = norm.weight.numpy() / np.sqrt(norm._variance.numpy() + norm._epsilon)
    bias = 0 if layer.conv.bias is None else layer.conv.bias.numpy()
    return layer.conv.weight.numpy() * scale[:, None, None, None], (
        bias - norm._mean.numpy()
    ) * scale + norm.bias.numpy()


def convolution(weight: np.ndarray, bias: np.ndarray | None = None) -> nn.Conv2D:
    """A 1×1 convolution with that weight (out, in, 1, 1) and bias (out,)."""
    made = nn.Conv2D(weight.shape[1], weight.shape[0], 1, bias_attr=None if bias is not None else False)
    made.weight.set_value(weight.astype(np.float32))
    if bias is not None:
        made.bias.set_value(bias.astype(np.float32))
    return made
