"""What models on a backbone share: its head, its weights, and for segmentation logits at the size of the image."""

from __future__ import annotations

from typing import TypedDict

import paddle
from paddle import nn

from paddle_hrfamily.backbones.variants import load_pretrained
from paddle_hrfamily.contract import traits
from paddle_hrfamily.layers import resize_as, set_batch_norm_momentum


class Losses(TypedDict):
    """PaddleSeg's section `loss`, built."""

    types: list[nn.Layer]  # the loss of each output
    coef: list[float]  # and its weight


class HeadOnBackbone(nn.Layer):
    """A backbone and a head: image (N, in_channels, H, W) -> what the head makes of the features.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, finest first (see `contract`).
        head: takes the features.
        pretrained: weights for the whole network: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet",
            which is the backbone alone. The head is filled where the weights hold one of this many outputs.
        batch_norm_momentum: what running mean and variance keep of themselves in a training step, 0..1 (PyTorch's
            momentum is 1 minus this); left open, Paddle's default of 0.9.

    Raises:
        UserError: weights that do not fit, or a momentum outside 0..1.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        head: nn.Layer,
        *,
        pretrained: str | None = None,
        batch_norm_momentum: float | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        if batch_norm_momentum is not None:
            set_batch_norm_momentum(self, batch_norm_momentum)
        known = traits(backbone)
        load_pretrained(self, known.name, known.variant, pretrained, "auto", type(self).__name__)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor | list[paddle.Tensor]:
        return self.head(self.backbone(image))


class Segmentor(HeadOnBackbone):
    """image (N, in_channels, H, W) -> [main, *auxiliary] logits, each (N, num_classes, H, W).

    Training returns all of them, in the order of PaddleSeg's losses; evaluation the main one alone, in a list.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, finest first.
        head: features -> [main, *auxiliary] logits at any size.
        num_classes: classes to tell apart.
        align_corners: corner handling of the resizes in head and output; give the backbone the same.
        pretrained, batch_norm_momentum: as in HeadOnBackbone.

    Raises:
        UserError: weights that do not fit, or a momentum outside 0..1.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        head: nn.Layer,
        *,
        num_classes: int,
        align_corners: bool,
        pretrained: str | None = None,
        batch_norm_momentum: float | None = None,
    ) -> None:
        super().__init__(backbone, head, pretrained=pretrained, batch_norm_momentum=batch_norm_momentum)
        self.num_classes = num_classes
        self.align_corners = align_corners

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [resize_as(logits, image, self.align_corners) for logits in self.native_logits(image)]

    def native_logits(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """What `forward` returns, before it is resized: (N, num_classes, h, w)."""
        return self.head(self.backbone(image))
