"""What a backbone is: a layer that turns an image into features, and says which.

The backbones here derive from `Backbone`. Those of PaddleSeg and of others offer less; `traits` is the one place that
reads what a layer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import paddle
from paddle import nn

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.layers import PADDINGS, Padding


class Backbone(nn.Layer):
    """image (N, in_channels, H, W) -> [(N, feat_channels[i], ceil(H / s), ceil(W / s))], s of `feat_strides`.

    Any H, W from 32 up. The attributes are those of `BackboneTraits`; a subclass sets `feat_channels`, `feat_strides`
    and `in_channels`, and the others where it has something to say.
    """

    feat_channels: Sequence[int]
    feat_strides: Sequence[int]
    in_channels: int
    variant: str = ""
    padding: Padding | None = None
    align_corners: bool = False
    channel_pool: bool = False
    concat: bool = False
    omits: str | None = None
    head_width: int | None = None

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        raise NotImplementedError


@dataclass(frozen=True)
class BackboneTraits:
    """What a layer says of itself as a backbone; the defaults stand for what it does not say.

    Attributes:
        name: of its class, by which published weights are found.
        feat_channels: channels of each feature; none if the layer does not tell.
        feat_strides: stride of each feature; none if the layer does not tell.
        in_channels: channels of the image.
        variant: which of the class's networks it is.
        padding: of its strided convolutions, which weights must have been trained with.
        align_corners: corner handling of its resizes.
        channel_pool: heads are to average channel pairs of its features (U-HRNet section 3.2.3).
        concat: its one feature is the concatenation of those that it otherwise returns.
        omits: how the names of layers begin that it is built without, though weights of its network hold them.
        head_width: channels inside the head that its paper puts on it.
    """

    name: str
    feat_channels: tuple[int, ...] = ()
    feat_strides: tuple[int, ...] = ()
    in_channels: int | None = None
    variant: str = ""
    padding: Padding | None = None
    align_corners: bool = False
    channel_pool: bool = False
    concat: bool = False
    omits: str | None = None
    head_width: int | None = None

    @property
    def pools_channels(self) -> bool:
        """Whether heads are to average channel pairs: what is concatenated has been averaged."""
        return self.channel_pool and len(self.feat_channels) > 1


def traits(layer: nn.Layer) -> BackboneTraits:
    """What `layer`, any backbone or none, says of itself."""
    said = {field.name: getattr(layer, field.name) for field in fields(BackboneTraits) if hasattr(layer, field.name)}
    said["name"] = type(layer).__name__
    for key in ("feat_channels", "feat_strides"):
        said[key] = tuple(said.get(key) or ())
    if said.get("padding") not in PADDINGS:  # a layer that is no backbone may mean something else
        said["padding"] = None
    return BackboneTraits(**said)


def traits_for(model: type[nn.Layer], backbone: nn.Layer) -> BackboneTraits:
    """The traits of a backbone that a model is to stand on.

    Raises:
        UserError: it does not tell its features' channels.
    """
    known = traits(backbone)
    if not known.feat_channels:
        raise UserError(f"{known.name}: without feat_channels, {model.__name__} cannot know its features")
    return known
