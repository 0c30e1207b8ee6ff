"""The unity head of Specialize and Fuse (section 4.1, figure 2b): in which cells do all pixels share one class?

A cell's pixels do if their embeddings are close to their centroid. The text has a 1×1 convolution for pixels and
another, shared by the levels, for centroids, and hands their difference to the last 1×1 as it is: that is `as_written`.
Without it, this head does two things otherwise:

* One bare 1×1 convolution makes the embeddings of pixels and of centroids. Being linear, it may as well precede the
  pooling: a cell's centroid is exactly the mean of its pixels' embeddings, and a uniform cell differs from it by 0.
* The difference passes a ReLU on its way into the last 1×1. Without one the head would be linear, the 64 channels of
  an embedding worth no more than one, and only deviations to one side of the centroid would be seen.

In both, where the text is silent:

* The last bias begins where a uniform cell, which it alone speaks for, is a unity-cell at the paper's threshold of 0.9.
* Min pooling acts on logits. The sigmoid is monotonic, so that this is the paper's pooling of probabilities, and binary
  cross entropy can be computed from logits, which does not overflow.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.heads.semantic_pyramid import projection
from paddle_hrfamily.layers import normal
from paddle_hrfamily.losses.pyramid import enlarge


class UnityHead(nn.Layer):
    """feature (N, in_channels, h, w) -> logits (N, 1, h/f, w/f) of each level but the finest, coarsest first.

    Args:
        in_channels: channels of the feature.
        strides: of the levels, finest first; the feature has the finest, and f is a stride over the finest.
        channels: D_u, of the embeddings.
        as_written: the head as section 4.1 has it, to the letter.
    """

    def __init__(
        self, in_channels: int, strides: Sequence[int], *, channels: int = 64, as_written: bool = False
    ) -> None:
        super().__init__()
        self.factors = [stride // strides[0] for stride in strides[:0:-1]]
        self.reduce = projection(in_channels, channels)
        self.embed = projection(channels, channels)
        self.embed_centroids = projection(channels, channels) if as_written else None
        prior = paddle.ParamAttr(initializer=nn.initializer.Constant(3.0))  # sigmoid(3) = 0.95
        self.compare = nn.Conv2D(channels, 1, 1, weight_attr=normal(0.001), bias_attr=prior)

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        x = self.reduce(x)  # X_u: (N, channels, h, w)
        pixels = self.embed(x)
        return [-F.max_pool2d(-self._alike(x, pixels, factor), factor) for factor in self.factors]

    def _alike(self, x: paddle.Tensor, pixels: paddle.Tensor, factor: int) -> paddle.Tensor:
        """(N, 1, h, w): how sure it is that a pixel shares the class of its cell's centroid."""
        if self.embed_centroids is None:
            centroids = F.avg_pool2d(pixels, factor)  # (N, channels, h/factor, w/factor)
            return self.compare(F.relu(pixels - enlarge(centroids, factor)))
        centroids = self.embed_centroids(F.avg_pool2d(x, factor))
        return self.compare(pixels - enlarge(centroids, factor))
