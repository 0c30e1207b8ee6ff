"""The names behind `create_model` and `list_models`: one for every variant of every network."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any

from paddle import nn

from paddle_hrfamily.backbones import DDRNet, DDRNetTrunk, HRNet, ResNet, UHRNet, ddrnet, hrnet, uhrnet
from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.layers import Padding
from paddle_hrfamily.models import (
    DDRNetClassifier,
    DDRSeg,
    HRDepth,
    HRNetClassifier,
    HRNetPose,
    HRNetPyramid,
    HRNetSeg,
    OCRSeg,
    SpecializeFuse,
    SPGNet,
    spgnet,
)
from paddle_hrfamily.weights import resolve


@dataclass(frozen=True)
class Entry:
    """A model of the zoo: what a config would name. A network that builds its own encoders has no `backbone`."""

    model: type[nn.Layer]
    backbone: type[nn.Layer] | None = None
    variant: str = ""
    num_classes: int | None = 19  # None: an output without classes
    size: tuple[int, int] = (1024, 2048)  # height and width that its paper counts operations at
    rule: str = "giga"  # and how, an attribute of Complexity
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> str:
        """The components in words: "HRNetSeg, UHRNet W48"."""
        parts = [self.model.__name__, f"{self.backbone.__name__} {self.variant}" if self.backbone else self.variant]
        return ", ".join(part for part in parts if part)


_DENSE = [variant for variant in hrnet.VARIANTS if variant not in hrnet.CLASSIFICATION_ONLY]


def _on_streams(suffix: str, model: type[nn.Layer], **options: Any) -> dict[str, Entry]:
    """`model` on every HRNet and U-HRNet: hrnet_w48 + suffix, …"""
    names = {f"hrnet_{v.lower()}": (HRNet, v) for v in _DENSE}
    names |= {f"uhrnet_{v.lower()}": (UHRNet, v) for v in uhrnet.VARIANTS}
    return {name + suffix: Entry(model, backbone, v, **options) for name, (backbone, v) in names.items()}


def _nearest(
    suffix: str, model: type[nn.Layer], variants: Iterable[str], *, finest_alone: bool = False, **options: Any
) -> dict[str, Entry]:
    """`model` on HRNets that resize by nearest neighbour, as all the official ones but those of segmentation do."""
    backbone = {"upsampling": "nearest", "finest_alone": finest_alone}
    return {
        f"hrnet_{v.lower()}{suffix}": Entry(model, HRNet, v, backbone_options=backbone, **options) for v in variants
    }


def _ddrnets() -> dict[str, Entry]:
    """DDRNets of both tasks; the auxiliary output is asked for where it is wanted, as in the other families."""
    plain = {"model_options": {"auxiliary": False}, "rule": "billion_with_biases"}
    tail = {"num_classes": 1000, "size": (224, 224), "rule": "billion_by_fvcore"}
    segmentation = {f"ddrnet_{v}": Entry(DDRSeg, DDRNet, v, **plain) for v in ddrnet.VARIANTS}
    segmentation["ddrnet_39_1_5x"] = replace(segmentation["ddrnet_39_1_5x"], size=(1024, 1024))  # table VII
    return segmentation | {f"ddrnet_{v}_cls": Entry(DDRNetClassifier, DDRNetTrunk, v, **tail) for v in ddrnet.VARIANTS}


def _spgnets() -> dict[str, Entry]:
    """SPGNets of two stages, which build their encoders themselves."""
    return {
        f"spgnet_{v.lower()}": Entry(
            SPGNet,
            variant=v,
            size=(1025, 2049),
            rule="billion",
            model_options={"encoders": encoders, "decoder_channels": channels},
        )
        for v, (encoders, channels) in spgnet.VARIANTS.items()
    }


def _specialize_fuse() -> dict[str, Entry]:
    """With the light decoder on ResNet-101, as many channels as HRNet-W48 has (section 5.1.2)."""
    decoded = Entry(SpecializeFuse, ResNet, "R101", size=(512, 512), model_options={"decoder_width": 48})
    return _on_streams("_specialize_fuse", SpecializeFuse, size=(512, 512)) | {"resnet101_specialize_fuse": decoded}


MODELS: dict[str, Entry] = (
    _on_streams("", HRNetSeg)
    | _on_streams("_ocr", OCRSeg)
    | _specialize_fuse()
    | _on_streams("_depth", HRDepth, num_classes=1, size=(480, 640))
    | _nearest("_cls", HRNetClassifier, hrnet.VARIANTS, num_classes=1000, size=(224, 224))
    | _nearest("_pose", HRNetPose, _DENSE, num_classes=17, size=(256, 192), finest_alone=True)
    | _nearest("_fpn", HRNetPyramid, _DENSE, num_classes=None, size=(800, 1200))
    | _ddrnets()
    | _spgnets()
)


# Millions of parameters and GFLOPs that the papers or the official repositories state, where they do.
PUBLISHED: dict[str, tuple[float | None, float]] = {
    # HRNet: tables 3 and 4, tables 1 and 20 for pose and classification, and the repositories' tables of small ones.
    "hrnet_w18_small_v1": (1.5, 31.1),
    "hrnet_w18_small_v2": (3.9, 71.6),
    "hrnet_w40": (45.2, 493.2),
    "hrnet_w48": (65.9, 696.2),
    "hrnet_w48_ocr": (70.3, 1206.3),
    "hrnet_w32_pose": (28.5, 7.10),
    "hrnet_w48_pose": (63.6, 14.6),
    "hrnet_w18_small_v1_cls": (13.2, 1.49),
    "hrnet_w18_small_v2_cls": (15.6, 2.42),
    "hrnet_w18_cls": (21.3, 3.99),
    "hrnet_w30_cls": (37.7, 7.55),
    "hrnet_w40_cls": (57.6, 11.8),
    "hrnet_w44_c_cls": (21.9, 3.90),
    "hrnet_w76_c_cls": (40.8, 7.30),
    "hrnet_w96_c_cls": (57.5, 10.2),
    # U-HRNet: section 4.
    "uhrnet_w48": (None, 698.6),
    # DDRNet: tables III, V and VII.
    "ddrnet_23_slim": (5.7, 36.3),
    "ddrnet_23": (20.1, 143.1),
    "ddrnet_39": (32.3, 281.2),
    "ddrnet_39_1_5x": (70.2, 303.0),
    "ddrnet_23_slim_cls": (7.57, 0.98),
    "ddrnet_23_cls": (28.22, 3.88),
    "ddrnet_39_cls": (40.13, 6.95),
    # SPGNet: tables 3, 7 and 9.
    "spgnet_r18": (23.9, 218.0),
    "spgnet_r50": (55.6, 467.6),
    "spgnet_r101": (93.5, 785.3),
    "spgnet_r50_d256": (59.8, 654.8),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes and that match the shell-style `pattern`, family by family."""
    return [name for name in MODELS if fnmatch(name, pattern)]


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    pretrained: str | None = None,
    in_channels: int = 3,
    align_corners: bool | None = None,
    padding: Padding | None = None,
    auxiliary: bool | None = None,
) -> nn.Layer:
    """Build a network: image (N, in_channels, H, W) -> [logits (N, num_classes, H, W), *auxiliary] for segmentation.

    Args:
        name: one of `list_models()`, such as "uhrnet_w48_ocr".
        num_classes: classes to tell apart; left open, 19, or what the network is for (1000 in classification).
        pretrained: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet" (the backbone alone) or
            "cityscapes" (the whole network). The head is filled where the weights hold one of this many classes.
        in_channels: channels of the image.
        align_corners: corner handling of every resize (False unless told otherwise).
        padding: "symmetric" or "same"; left open, it is what `pretrained` needs, else the family's own.
        auxiliary: an output more in training, for deep supervision, where the network may go without.

    Raises:
        UserError: unknown name, an option that this network does not have, or weights that do not fit.
    """
    entry = find(name)
    if padding is None and pretrained and entry.backbone is not None:
        padding = resolve(entry.backbone.__name__, entry.variant, pretrained).padding
    given = {
        "num_classes": num_classes,
        "align_corners": align_corners,
        "padding": padding,
        "auxiliary": auxiliary,
        "in_channels": in_channels,
    }
    options = {key: value for key, value in given.items() if value is not None}
    parts = [part for part in (entry.model, entry.backbone) if part is not None]
    _check(name, set(options), parts)
    model_options = {"num_classes": entry.num_classes, "pretrained": pretrained}
    model_options |= dict(entry.model_options) | _accepted(entry.model, options)
    if entry.backbone is None:
        return entry.model(**model_options)
    backbone = entry.backbone(entry.variant, **{**entry.backbone_options, **_accepted(entry.backbone, options)})
    return entry.model(backbone, **_accepted(entry.model, model_options))


def find(name: str) -> Entry:
    """The zoo's entry of that name, or a UserError that offers the nearest ones."""
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


def _parameters(component: type[nn.Layer]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(component).parameters


def _accepted(component: type[nn.Layer], options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in _parameters(component)}


def _check(name: str, options: Iterable[str], components: Iterable[type[nn.Layer]]) -> None:
    known = {parameter for component in components for parameter in _parameters(component)}
    for option in sorted(set(options) - known):
        raise UserError(f"{name} has no option {option}; it takes {', '.join(sorted(known - {'backbone', 'variant'}))}")
