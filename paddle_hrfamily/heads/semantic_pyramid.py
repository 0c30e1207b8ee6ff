"""The semantic head of Specialize and Fuse (section 4.2, figures 2c to 2e): classes at every level of a pyramid.

The coarse-to-fine contextual module keeps a context of 1 + 9 + 36 + 64 = 110 tokens, pooled from the finest feature.
From coarse to fine, each level's cells attend to it (CA), and what they become is pooled into it (CU).

Table 6 compares it with ANL (arXiv 1908.07678), whose pyramid block attends to the same 110 tokens of its own feature:
that is CA with the feature's pooled tokens for context. "anl" appends one to X^(L), of which all levels are pooled;
"anl_multi" has one at every level.

Where the paper is silent: "Conv1x1" is a bare 1×1 convolution unless said to consist of Conv1x1, BN and ReLU; the
attention is scaled and has one head, with queries and keys half as wide as the values. ANL is built of the same parts,
so that table 6 compares where the context comes from, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.errors import unknown
from paddle_hrfamily.layers import ConvBN, classifier, normal, unflatten_as

Context = Literal["coarse_to_fine", "anl", "anl_multi", "none"]
CONTEXTS: tuple[Context, ...] = ("coarse_to_fine", "anl", "anl_multi", "none")  # the columns of table 6
POOLS = (1, 3, 6, 8)  # the grids that PyramidPool averages to


class SemanticPyramidHead(nn.Layer):
    """feature (N, in_channels, h, w) -> logits (N, num_classes, h/f, w/f) of each predicted level, coarsest first.

    Args:
        in_channels: channels of the feature.
        num_classes: classes to tell apart.
        strides: of the levels, finest first; the feature has the finest, and f is a stride over the finest.
        channels: D_s, of everything between.
        context: the contextual module; with "none" levels are pooled and classified.
        finest_alone: predict the finest level alone; the context still goes through all of them (table 6, "single").

    Raises:
        UserError: no such context.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        strides: Sequence[int],
        *,
        channels: int = 512,
        context: Context = "coarse_to_fine",
        finest_alone: bool = False,
    ) -> None:
        super().__init__()
        if context not in CONTEXTS:
            raise unknown("context of Specialize and Fuse", context, CONTEXTS)
        self.factors = [stride // strides[0] for stride in reversed(strides)]
        self.project = projection(in_channels, channels)
        self.appended = ContextAggregation(channels) if context == "anl" else None
        self.context = None
        if context == "coarse_to_fine":
            self.context = CoarseToFineContext(channels, len(strides))
        elif context == "anl_multi":
            self.context = ContextOfEachLevel(channels, len(strides))
        self.classify = nn.LayerList(
            nn.Sequential(ConvBN(channels, channels, 1), classifier(channels, num_classes))
            for _ in (strides[:1] if finest_alone else strides)
        )

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        x = self.project(x)  # X^(L): (N, channels, h, w)
        if self.appended is not None:
            x = self.appended(x, pyramid_pool(x))
        levels = [F.avg_pool2d(x, factor) if factor > 1 else x for factor in self.factors]
        if self.context is not None:
            levels = self.context(levels)
        predicted = levels[-len(self.classify) :]
        return [classify(level) for classify, level in zip(self.classify, predicted)]


class CoarseToFineContext(nn.Layer):
    """Equations 4 and 5: each level (N, C, h, w), coarsest first, refined by the context, which it then updates."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.aggregate = nn.LayerList(ContextAggregation(channels) for _ in range(levels))
        self.update = nn.LayerList(ConvBN(2 * channels, channels, 1) for _ in range(levels - 1))

    def forward(self, levels: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        context = pyramid_pool(levels[-1])
        refined = []
        for i, aggregate in enumerate(self.aggregate):
            refined.append(aggregate(levels[i], context))
            if i < len(self.update):  # the finest level is the last to use the context
                context = self.update[i](paddle.concat([pyramid_pool(refined[i]), context], axis=1))
        return refined


class ContextOfEachLevel(nn.Layer):
    """Each level (N, C, h, w), coarsest first, refined by tokens of its own ("ANL-multi" of table 6)."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.aggregate = nn.LayerList(ContextAggregation(channels) for _ in range(levels))

    def forward(self, levels: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        return [aggregate(level, pyramid_pool(level)) for aggregate, level in zip(self.aggregate, levels)]


class ContextAggregation(nn.Layer):
    """CA: cells (N, C, h, w) attend to tokens (N, C, T, 1), and are mixed with what they find."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = projection(channels, channels // 2, gain=0.02)  # attention begins flat: with the tokens' mean
        self.key = projection(channels, channels // 2)
        self.value = projection(channels, channels)
        self.mix = ConvBN(2 * channels, channels, 1)
        self.scale = (channels // 2) ** -0.5

    def forward(self, x: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        query = self.query(x).flatten(2) * self.scale  # (N, C/2, h·w); scaled late, half precision overflows
        key, value = self.key(context).flatten(2), self.value(context).flatten(2)  # (N, C/2, T), (N, C, T)
        weights = F.softmax(paddle.matmul(query, key, transpose_x=True), axis=-1)  # (N, h·w, T)
        found = paddle.matmul(value, weights, transpose_y=True)  # (N, C, h·w)
        return self.mix(paddle.concat([unflatten_as(found, x), x], axis=1))


def pyramid_pool(x: paddle.Tensor) -> paddle.Tensor:
    """(N, C, h, w) -> (N, C, 110, 1): the averages of 1×1, 3×3, 6×6 and 8×8 patches, in one row."""
    return paddle.concat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in POOLS], axis=2).unsqueeze(3)


def projection(in_channels: int, out_channels: int, *, gain: float = 1.0) -> nn.Conv2D:
    """A bare 1×1 convolution; its weights begin so that they scale the deviation of what they get by `gain`."""
    return nn.Conv2D(in_channels, out_channels, 1, weight_attr=normal(gain * in_channels**-0.5), bias_attr=False)
