"""Cross-stage feature aggregation (SPGNet figure 2c; MSPN, arXiv 1901.00148, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_hrfamily.layers import ConvBN


class CrossStageAggregation(nn.Layer):
    """Features of the stage before, of its encoder and its decoder at each resolution, for this stage's encoder.

    encoded [(N, before[i], h_i, w_i)], decoded [(N, decoder_channels, h_i, w_i)] -> [(N, channels[i], h_i, w_i)], to be
    added to this encoder's features.
    """

    def __init__(self, before: Sequence[int], decoder_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.from_encoder = nn.LayerList([ConvBN(theirs, ours, 1) for theirs, ours in zip(before, channels)])
        self.from_decoder = nn.LayerList([ConvBN(decoder_channels, ours, 1) for ours in channels])

    def forward(self, encoded: Sequence[paddle.Tensor], decoded: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        return [
            from_encoder(x) + from_decoder(y)
            for from_encoder, from_decoder, x, y in zip(self.from_encoder, self.from_decoder, encoded, decoded)
        ]
