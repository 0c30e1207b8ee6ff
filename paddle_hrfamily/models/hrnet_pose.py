"""HRNetV1 for human pose estimation: a heatmap for every joint (HRNet section 4)."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.heads import PoseHead
from paddle_hrfamily.heads.pose_decoding import Pairs, decode, flip_average
from paddle_hrfamily.models.segmentor import HeadOnBackbone
from paddle_hrfamily.registry import Entry, Family

PUBLISHED = {"hrnet_w32_pose": (28.5, 7.10), "hrnet_w48_pose": (63.6, 14.6)}  # HRNet, table 1
_COCO = Entry(num_classes=17, size=(256, 192), backbone_options={"upsampling": "nearest", "finest_alone": True})


@registry.model(Family("_pose", ("HRNet",), _COCO, published=PUBLISHED), in_configs=False)
class HRNetPose(HeadOnBackbone):
    """image of one person (N, in_channels, H, W) -> heatmaps (N, joints, ceil(H/4), ceil(W/4)); trained at 256×192.

    A 1×1 convolution on the finest stream alone. The official networks resize by nearest neighbour and end with that
    stream: build the backbone with upsampling="nearest" and finest_alone=True.

    A network and its weights. PaddleSeg cannot train it, because its data sets hold maps of labels and no joints, so a
    config cannot name it. `losses.heatmap` has the targets and the loss for a training loop of your own.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, the one at 1/4 first.
        num_classes: joints; COCO has 17.
        pretrained: as in HeadOnBackbone.

    Raises:
        UserError: a backbone without feat_channels, or weights that do not fit.
    """

    def __init__(self, backbone: nn.Layer, num_classes: int = 17, *, pretrained: str | None = None) -> None:
        head = PoseHead(traits_for(type(self), backbone).feat_channels[0], num_classes)
        super().__init__(backbone, head, pretrained=pretrained)

    @paddle.no_grad()
    def predict(self, image: paddle.Tensor, flip_pairs: Pairs | None = None) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Positions x, y (N, joints, 2) in pixels of the image, and scores (N, joints).

        With `flip_pairs`, such as `heads.pose_decoding.FLIP_PAIRS["coco"]`, the heatmaps are averaged with those of the
        mirrored image, as in the paper.
        """
        heatmaps = self(image)
        if flip_pairs is not None:
            heatmaps = flip_average(heatmaps, self(image.flip(axis=[3])), flip_pairs)
        return decode(heatmaps, stride=4)
