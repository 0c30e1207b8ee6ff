"""HRNetV2 for facial landmark detection: a heatmap for every landmark (HRNet appendix B)."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.heads import HRNetV2Head
from paddle_hrfamily.heads.landmark_decoding import decode_landmarks
from paddle_hrfamily.models.segmentor import HeadOnBackbone
from paddle_hrfamily.registry import Entry, Family

LANDMARKS = {"AFLW": 19, "COFW": 29, "300W": 68, "WFLW": 98}
# Appendix B. The official code has 9.66 M and 4.37 at 98 landmarks, 9.64 M and 4.29 at 19.
PUBLISHED = {"hrnet_w18_landmarks": (9.3, 4.3)}
_WFLW = Entry(num_classes=LANDMARKS["WFLW"], size=(256, 256))


@registry.model(Family("_landmarks", ("HRNet",), _WFLW, variants=("W18",), published=PUBLISHED), in_configs=False)
class HRNetLandmarks(HeadOnBackbone):
    """image of one face (N, in_channels, H, W) -> heatmaps (N, landmarks, ceil(H/4), ceil(W/4)); trained at 256×256.

    The network for segmentation with a landmark for a class, and its maps left at 1/4.

    A network and its weights, as HRNetPose is: PaddleSeg cannot train it. Trained by the mean squared error against a
    Gaussian of deviation 1.5 around the cell that holds the landmark.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, the one at 1/4 first.
        num_classes: landmarks; LANDMARKS has those of the paper's data sets.
        align_corners: corner handling of the resizes in the head.
        pretrained: as in HeadOnBackbone.

    Raises:
        UserError: a backbone without feat_channels, or weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = LANDMARKS["WFLW"],
        *,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        known = traits_for(type(self), backbone)
        head = HRNetV2Head(
            known.feat_channels, num_classes, channel_pool=known.pools_channels, align_corners=align_corners
        )
        super().__init__(backbone, head, pretrained=pretrained)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.backbone(image))[0]

    @paddle.no_grad()
    def predict(self, image: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Positions x, y (N, landmarks, 2) in pixels of the image, and scores (N, landmarks)."""
        return decode_landmarks(self(image), stride=4)
