"""What PaddleSeg publishes: its own trainings of HRNet, OCRNet and DDRNet, and U-HRNet, whose official code it is.

Addresses and scores: README.md in configs/{fcn,ocrnet,ddrnet,uhrnet} of PaddleSeg; every config has align_corners
False, and normalises images by 0.5 and 0.5. Its networks pad "same" in strided convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paddle_hrfamily.registry import DataSet, Published
from paddle_hrfamily.weights.publishers import data_sets as data

if TYPE_CHECKING:  # which imports paddle
    from paddle_hrfamily.layers import Padding

_ROOT = "https://bj.bcebos.com/paddleseg/dygraph/"


def _network(folder: str, miou: float, trained_on: DataSet = data.CITYSCAPES) -> Published:
    score, source = f"{miou:.2f} mIoU on val", f"{_ROOT}{folder}/model.pdparams"
    return Published(source, "same", trained_on, False, score, "PaddleSeg", "Apache-2.0", pixels="half")


def _backbone(path: str, padding: Padding | None = "same") -> Published:
    return Published(_ROOT + path, padding, data.IMAGENET, publisher="PaddleSeg", licence="Apache-2.0")


def _both(head: str, width: int, schedule: str, miou: tuple[float, float]) -> Mapping[tuple[str, str], Published]:
    """Cityscapes and PASCAL VOC, with the mIoU of each."""
    cityscapes = f"cityscapes/{head}_hrnetw{width}_cityscapes_1024x512_{schedule}"
    voc = f"pascal_voc12/{head}_hrnetw{width}_voc12aug_512x512_40k"
    return {
        ("cityscapes", ""): _network(cityscapes, miou[0]),
        ("voc", ""): _network(voc, miou[1], data.PASCAL_VOC),
    }


HRNET = {
    ("HRNet", "W18"): _both("fcn", 18, "80k", (78.97, 75.39)),
    ("HRNet", "W48"): _both("fcn", 48, "80k", (80.70, 78.72)),
}
OCR = {
    ("HRNet", "W18"): _both("ocrnet", 18, "160k", (80.67, 75.76)),
    ("HRNet", "W48"): _both("ocrnet", 48, "160k", (82.15, 79.98)),
}


def _uhrnet(name: str, long: float, short: float) -> Mapping[tuple[str, str], Published]:
    """Of two schedules, with the mIoU of each; the longer one scored better."""
    folder = f"cityscapes/fcn_uhrnet{name}_cityscapes_1024x512_"
    longer = _network(f"{folder}120k_bs3", long)
    return {
        ("cityscapes", ""): longer,
        ("cityscapes", "120k"): longer,
        ("cityscapes", "80k"): _network(f"{folder}80k", short),
    }


UHRNET = {
    ("UHRNet", "W18_Small"): _uhrnet("w18_small", 78.39, 77.66),
    ("UHRNet", "W48"): _uhrnet("w48", 81.91, 81.28),
}
UHRNET_IMAGENET = {
    "W18_Small": {"imagenet": _backbone("backbone/uhrnetw18_small_imagenet.tar.gz")},
    "W48": {"imagenet": _backbone("backbone/uhrnetw48_imagenet.tar.gz")},
}

_DDRNET = "cityscapes/ddrnet23_cityscapes_1024x1024_120k"
DDRNET = {("DDRNet", "23"): {("cityscapes", ""): _network(_DDRNET, 79.85)}}
DDRNET_IMAGENET = {"23": _backbone(f"{_DDRNET}/pretrain/model.pdparams")}

# SSLD's distillation, in PaddleSeg's own network.
HRNET_SSLD = {"W18": _backbone("hrnet_w18_ssld.tar.gz"), "W48": _backbone("hrnet_w48_ssld.tar.gz")}
RESNET_SSLD = {
    "R50_vd": _backbone("resnet50_vd_ssld_v2.tar.gz", None),
    "R101_vd": _backbone("resnet101_vd_ssld.tar.gz", None),
}
