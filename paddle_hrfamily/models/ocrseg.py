"""HRNet + OCR and U-HRNet + OCR."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.heads import OCRHead
from paddle_hrfamily.models.segmentor import Segmentor
from paddle_hrfamily.registry import Family
from paddle_hrfamily.weights.published import named
from paddle_hrfamily.weights.publishers import hrnet, mmsegmentation, paddleseg

PUBLISHED = {"hrnet_w48_ocr": (70.3, 1206.3)}  # HRNet, table 4


WEIGHTS = named(("", hrnet.OCR), ("mmseg", mmsegmentation.OCR), ("paddleseg", paddleseg.OCR))


@registry.model(Family("_ocr", ("HRNet", "UHRNet"), published=PUBLISHED), weights=WEIGHTS)
class OCRSeg(Segmentor):
    """Object-contextual representations on any backbone (HRNet tables 3 to 6, U-HRNet tables 3 to 5).

    Two outputs in training, [main, soft regions]: the papers weigh their losses 1 and 0.4.

    Args:
        backbone, num_classes, align_corners, pretrained, batch_norm_momentum: as in Segmentor.
        channels, key_channels, dropout: as in OCRHead.

    Raises:
        UserError: a backbone without feat_channels, or weights that do not fit.
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
        batch_norm_momentum: float | None = None,
    ) -> None:
        known = traits_for(type(self), backbone)
        head = OCRHead(
            known.feat_channels,
            num_classes,
            channels=channels,
            key_channels=key_channels,
            dropout=dropout,
            channel_pool=known.pools_channels,
            align_corners=align_corners,
        )
        super().__init__(
            backbone,
            head,
            num_classes=num_classes,
            align_corners=align_corners,
            pretrained=pretrained,
            batch_norm_momentum=batch_norm_momentum,
        )
