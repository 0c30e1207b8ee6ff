"""The names behind `create_model` and `list_models`: one for every variant of every family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from paddle import nn

from paddle_hrfamily.backbones import HRNet, UHRNet, hrnet, uhrnet
from paddle_hrfamily.errors import unknown
from paddle_hrfamily.layers import Padding
from paddle_hrfamily.multires import Layout
from paddle_hrfamily.segmentor import HRNetSeg
from paddle_hrfamily.weights import resolve


@dataclass(frozen=True)
class Entry:
    """A model of the zoo: the components and the variant that a config would name."""

    model: type[nn.Layer]
    backbone: type[nn.Layer]
    variant: str


def _entries(prefix: str, backbone: type[nn.Layer], variants: Mapping[str, Layout]) -> dict[str, Entry]:
    return {f"{prefix}_{variant.lower()}": Entry(HRNetSeg, backbone, variant) for variant in variants}


MODELS: dict[str, Entry] = _entries("hrnet", HRNet, hrnet.VARIANTS) | _entries("uhrnet", UHRNet, uhrnet.VARIANTS)


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes and that match the shell-style `pattern`, family by family."""
    return [name for name in MODELS if fnmatch(name, pattern)]


def create_model(
    name: str,
    num_classes: int = 19,
    *,
    pretrained: str | None = None,
    in_channels: int = 3,
    align_corners: bool = False,
    padding: Padding | None = None,
    auxiliary: bool = False,
) -> nn.Layer:
    """Build a segmentation network: image (N, in_channels, H, W) -> [logits (N, num_classes, H, W), *auxiliary].

    Args:
        name: one of `list_models()`, such as "uhrnet_w48".
        num_classes: classes to tell apart.
        pretrained: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet" (the backbone alone) or
            "cityscapes" (the whole network). The head is filled where the weights hold one of this many classes.
        in_channels: channels of the image.
        align_corners: corner handling of every resize.
        padding: "symmetric" or "same"; left open, it is what `pretrained` needs, else the family's own.
        auxiliary: a second output in training, for deep supervision.

    Raises:
        UserError: unknown name, or weights that do not fit.
    """
    entry = find(name)
    if padding is None and pretrained:
        padding = resolve(entry.backbone.__name__, entry.variant, pretrained).padding
    backbone = entry.backbone(entry.variant, in_channels=in_channels, align_corners=align_corners, padding=padding)
    return entry.model(backbone, num_classes, align_corners=align_corners, auxiliary=auxiliary, pretrained=pretrained)


def find(name: str) -> Entry:
    """The zoo's entry of that name, or a UserError that offers the nearest ones."""
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]
