"""HRNetV1 for human pose estimation: a heatmap for every joint (HRNet section 4)."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily.backbones.variants import load_pretrained
from paddle_hrfamily.heads import PoseHead
from paddle_hrfamily.heads.decoding import Pairs, decode, flip_average


class HRNetPose(nn.Layer):
    """image of one person (N, in_channels, H, W) -> heatmaps (N, joints, ceil(H/4), ceil(W/4)); trained at 256×192.

    A 1×1 convolution on the finest stream alone. The official networks resize by nearest neighbour and end with that
    stream: build the backbone with upsampling="nearest" and finest_alone=True.

    A network and its weights, no training pipeline: it is not among PaddleSeg's models, whose data sets hold maps of
    labels and no joints. `losses.heatmap` has the targets and the loss for a training loop of one's own.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, the one at 1/4 first.
        num_classes: joints; COCO has 17.
        pretrained: weights for the whole network: a file, a URL, `hf-hub:REPO` or a published name. The head is
            filled where they hold one of this many joints; "imagenet" is the backbone alone.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(self, backbone: nn.Layer, num_classes: int = 17, *, pretrained: str | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = PoseHead(backbone.feat_channels[0], num_classes)
        load_pretrained(self, type(backbone).__name__, getattr(backbone, "variant", ""), pretrained, part="auto")

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.backbone(image))

    @paddle.no_grad()
    def predict(self, image: paddle.Tensor, flip_pairs: Pairs | None = None) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Positions x, y (N, joints, 2) in pixels of the image, and scores (N, joints).

        With `flip_pairs` (such as `heads.decoding.FLIP_PAIRS["coco"]`) the mirrored image has its say, as in the paper.
        """
        heatmaps = self(image)
        if flip_pairs is not None:
            heatmaps = flip_average(heatmaps, self(image.flip(axis=[3])), flip_pairs)
        return decode(heatmaps, stride=4)
