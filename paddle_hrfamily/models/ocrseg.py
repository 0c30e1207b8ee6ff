"""HRNet + OCR and U-HRNet + OCR."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily.heads import OCRHead
from paddle_hrfamily.models.segmentor import Segmentor, pools_channels


class OCRSeg(Segmentor):
    """Object-contextual representations on any backbone (HRNet tables 3 to 6, U-HRNet tables 3 to 5).

    Two outputs in training, [main, soft regions]: the papers weigh their losses 1 and 0.4.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, finest first.
        num_classes: classes to tell apart.
        channels, key_channels, dropout: as in OCRHead.
        align_corners: corner handling of the resizes in head and output; give the backbone the same.
        pretrained: as in Segmentor.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = 19,
        *,
        channels: int = 512,
        key_channels: int = 256,
        dropout: float = 0.05,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        head = OCRHead(
            backbone.feat_channels,
            num_classes,
            channels=channels,
            key_channels=key_channels,
            dropout=dropout,
            channel_pool=pools_channels(backbone),
            align_corners=align_corners,
        )
        super().__init__(backbone, head, num_classes=num_classes, align_corners=align_corners, pretrained=pretrained)
