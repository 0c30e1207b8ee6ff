"""The two pyramids of Specialize and Fuse on one feature, and equation 2, which makes one map of them.

Up() repeats a cell's logits for all of its children: a unity-cell has one answer for all of its pixels, and fused
logits are at every cell of the finest level those of one level, untouched.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.heads.fusion_decoder import FusionDecoder
from paddle_hrfamily.heads.semantic_pyramid import Context, SemanticPyramidHead
from paddle_hrfamily.heads.unity import UnityHead
from paddle_hrfamily.losses.pyramid import done_by_coarser, enlarge, ratios
from paddle_hrfamily.multires import representation, representation_channels


@registry.head
class SpecializeFuseHead(nn.Layer):
    """features [(N, feat_channels[i], h_i, w_i)], finest first -> logits at strides of the pyramid.

    Training: (N, num_classes, h, w) of each predicted level, coarsest first, then (N, 1, h, w) of each one's unity but
    the finest's. Evaluation: [fused (N, num_classes, h_0, w_0)]. The coarsest cells must divide the image.

    Args:
        feat_channels: channels of the features.
        num_classes: classes to tell apart.
        strides: of the levels, finest first; the first feature has the finest.
        context: the contextual module, a column of table 6.
        threshold: τ of the fusion, the probability from which a cell is taken for a unity-cell.
        single: predict the finest level alone, without unity; the context still goes through all levels.
        semantic_channels: D_s.
        unity_channels: D_u.
        unity_as_written: the unity head to the letter of section 4.1 (see `heads.unity`).
        decoder_width: reduce the features to 1, 2, 4, … times this width and fuse them before they are concatenated;
            None concatenates them as they are.
        channel_pool: average channel pairs before concatenating (U-HRNet).
        align_corners: corner handling of the resizes before the pyramids; within them, cells have no corners.
    """

    def __init__(
        self,
        feat_channels: Sequence[int],
        num_classes: int,
        *,
        strides: Sequence[int],
        context: Context,
        threshold: float,
        single: bool = False,
        semantic_channels: int = 512,
        unity_channels: int = 64,
        unity_as_written: bool = False,
        decoder_width: int | None = None,
        channel_pool: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.threshold = threshold
        self.channel_pool = channel_pool
        self.align_corners = align_corners
        self.decoder = None
        if decoder_width is not None:
            self.decoder = FusionDecoder(feat_channels, decoder_width, align_corners=align_corners)
            feat_channels = self.decoder.feat_channels
        channels = representation_channels(feat_channels, channel_pool)
        self.semantic = SemanticPyramidHead(
            channels, num_classes, strides, channels=semantic_channels, context=context, finest_alone=single
        )
        self.unity = None
        if len(strides) > 1 and not single:
            self.unity = UnityHead(channels, strides, channels=unity_channels, as_written=unity_as_written)

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        if self.decoder is not None:
            feats = self.decoder(feats)
        x = representation(feats, self.channel_pool, self.align_corners)
        semantic = self.semantic(x)
        unity = [] if self.unity is None else self.unity(x)
        if self.training:
            return [*semantic, *unity]
        return [fuse(semantic, [F.sigmoid(logits) for logits in unity], self.strides, self.threshold)]


def fuse(
    semantic: Sequence[paddle.Tensor], unity: Sequence[paddle.Tensor], strides: Sequence[int], threshold: float
) -> paddle.Tensor:
    """Equation 2: at every cell of the finest level, the logits of the coarsest unity-cell that covers it.

    Args:
        semantic: logits (N, K, h, w) of each level, coarsest first.
        unity: probabilities (N, 1, h, w) of each level but the finest: there, all are unity-cells.
        strides: of the levels, finest first.
        threshold: τ, from which a probability makes a unity-cell.
    """
    fused, *finer = semantic
    done = done_by_coarser([probability >= threshold for probability in unity], strides)
    for logits, mask, scale in zip(finer, done, ratios(strides)[::-1]):
        mask = mask.astype(logits.dtype)
        fused = enlarge(fused, scale) * mask + logits * (1 - mask)
    return fused
