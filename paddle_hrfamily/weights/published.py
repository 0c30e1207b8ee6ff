"""Weights that were published for the variants here, by short name: where they are and the padding they need.

Sources: Hugging Face's timm collection (HRNet's authors' ImageNet weights and others', MIT), PaddleSeg's store, and for
ResNets torchvision's and Paddle's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights.fetching import HUB_PREFIX

_PADDLESEG = "https://bj.bcebos.com/paddleseg/dygraph/"


@dataclass(frozen=True)
class Published:
    """Where weights are, as `fetch` takes it, and their padding: "symmetric", "same", None if not known."""

    source: str
    padding: str | None


def _timm(repository: str) -> Published:
    return Published(f"{HUB_PREFIX}timm/{repository}", "symmetric")


def _paddleseg(path: str) -> Published:
    return Published(_PADDLESEG + path, "same")


def _uhrnet(name: str) -> dict[str, Published]:
    """ImageNet for the backbone; Cityscapes with the FCN head, whose longer schedule scored 0.6 points more."""
    cityscapes = f"cityscapes/fcn_uhrnet{name}_cityscapes_1024x512_"
    long, short = (_paddleseg(f"{cityscapes}{schedule}/model.pdparams") for schedule in ("120k_bs3", "80k"))
    return {
        "imagenet": _paddleseg(f"backbone/uhrnet{name}_imagenet.tar.gz"),
        "cityscapes": long,
        "cityscapes_120k": long,
        "cityscapes_80k": short,
    }


def _hrnet_with_more(width: int, imagenet: str) -> dict[str, Published]:
    """ImageNet, also by distillation (SSLD) in both paddings, and the backbone of OCRNet trained on Cityscapes."""
    return {
        "imagenet": _timm(f"hrnet_w{width}.{imagenet}"),
        "ssld": _timm(f"hrnet_w{width}_ssld.paddle_in1k"),
        "ssld_paddleseg": _paddleseg(f"hrnet_w{width}_ssld.tar.gz"),
        "cityscapes_ocr": _paddleseg(f"cityscapes/ocrnet_hrnetw{width}_cityscapes_1024x512_160k/model.pdparams"),
    }


def _resnet(depth: int, digest: str) -> dict[str, Published]:
    """ImageNet, by torchvision and by paddle.vision."""
    return {
        "imagenet": Published(f"https://download.pytorch.org/models/resnet{depth}-{digest}.pth", None),
        "imagenet_paddle": Published(f"https://paddle-hapi.bj.bcebos.com/models/resnet{depth}.pdparams", None),
    }


PUBLISHED: dict[tuple[str, str], dict[str, Published]] = {
    ("HRNet", "W18_Small_V1"): {"imagenet": _timm("hrnet_w18_small.gluon_in1k")},
    ("HRNet", "W18_Small_V2"): {"imagenet": _timm("hrnet_w18_small_v2.gluon_in1k")},
    ("HRNet", "W18"): _hrnet_with_more(18, "ms_aug_in1k"),
    ("DDRNet", "23"): {
        "imagenet": _paddleseg("cityscapes/ddrnet23_cityscapes_1024x1024_120k/pretrain/model.pdparams"),
        "cityscapes": _paddleseg("cityscapes/ddrnet23_cityscapes_1024x1024_120k/model.pdparams"),
    },
    **{("HRNet", f"W{width}"): {"imagenet": _timm(f"hrnet_w{width}.ms_in1k")} for width in (30, 32, 40, 44, 64)},
    ("HRNet", "W48"): _hrnet_with_more(48, "ms_in1k"),
    ("UHRNet", "W18_Small"): _uhrnet("w18_small"),
    ("UHRNet", "W48"): _uhrnet("w48"),
    ("ResNet", "R18"): _resnet(18, "f37072fd"),
    ("ResNet", "R34"): _resnet(34, "b627a593"),
    ("ResNet", "R50"): _resnet(50, "0676ba61"),
    ("ResNet", "R101"): _resnet(101, "63fe2227"),
    ("ResNet", "R152"): _resnet(152, "394f9c45"),
    ("ResNet", "R50_vd"): {"ssld": Published(f"{_PADDLESEG}resnet50_vd_ssld_v2.tar.gz", None)},
    ("ResNet", "R101_vd"): {"ssld": Published(f"{_PADDLESEG}resnet101_vd_ssld.tar.gz", None)},
}


def resolve(family: str, variant: str, pretrained: str) -> Published:
    """Where to get what a user wrote as `pretrained` for that variant, and the padding to build the network with.

    A path, URL or hub name is passed through, with no padding known. UserError for a name that is not published.
    """
    if not _is_short_name(pretrained):
        return Published(pretrained, None)
    names = PUBLISHED.get((family, variant), {})
    if pretrained not in names:
        known = f"there are {', '.join(names)}" if names else "none are"
        raise UserError(
            f"no weights {pretrained!r} are published for {family} {variant}; {known}; or give a file, a URL or "
            f"{HUB_PREFIX}OWNER/REPO"
        )
    return names[pretrained]


def _is_short_name(text: str) -> bool:
    return re.fullmatch(r"\w+", text) is not None and not Path(text).exists()
