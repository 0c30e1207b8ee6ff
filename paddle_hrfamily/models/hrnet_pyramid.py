"""HRNetV2p: a feature pyramid for object detectors (HRNet sections 3.3 and 6, figure 4c)."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily.backbones.variants import load_pretrained
from paddle_hrfamily.heads import PyramidHead
from paddle_hrfamily.models.segmentor import pools_channels


class HRNetPyramid(nn.Layer):
    """image (N, in_channels, H, W) -> [(N, channels, ceil(H/s), ceil(W/s))] for s of `feat_strides`: 4, 8, 16, 32, 64.

    What a detector stands on, with its weights, no training pipeline: it is not among PaddleSeg's models, which are of
    segmentation and have the streams themselves to work with. Any H, W from 32 up. The official detection networks
    resize by nearest neighbour inside of the backbone: build it with upsampling="nearest".

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, the one at 1/4 first.
        channels: channels of every level.
        levels: number of levels.
        align_corners: corner handling of the resizes before the levels part.
        pretrained: weights for the whole network: a file, a URL, `hf-hub:REPO` or a published name. The pyramid is
            filled where they hold one; "imagenet" is the backbone alone.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        *,
        channels: int = 256,
        levels: int = 5,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = PyramidHead(
            backbone.feat_channels,
            channels=channels,
            levels=levels,
            channel_pool=pools_channels(backbone),
            align_corners=align_corners,
        )
        self.feat_channels = [channels] * levels
        self.feat_strides = [4 << level for level in range(levels)]
        load_pretrained(self, type(backbone).__name__, getattr(backbone, "variant", ""), pretrained, part="auto")

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return self.head(self.backbone(image))
