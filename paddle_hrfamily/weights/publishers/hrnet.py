"""What HRNet's authors publish: segmentation networks, and the classification networks that they begin from.

Segmentation: table "Performance" in README.md of HRNet-Semantic-Segmentation, branch HRNet-OCR. `align_corners` is that
of the yaml file named for each in experiments/, or the default of lib/config/default.py, which is true. Those whose
file name ends in torch04 were trained on PyTorch 0.4.1 with In-Place ABN (lib/models/bn_helper.py and
sync_bn/inplace_abn/src/inplace_abn_cuda.cu); the authors say of such weights that an ordinary batch norm scores worse
(issues 59 and 112).
"""

from __future__ import annotations

from paddle_hrfamily.registry import DataSet, Published
from paddle_hrfamily.weights.fetching import HUB_PREFIX
from paddle_hrfamily.weights.publishers import data_sets as data

AUTHORS = "HRNet's authors"
_SEGMENTATION = "https://github.com/hsfzxjy/models.storage/releases/download/HRNet-OCR/"
_CLASSIFICATION = "https://github.com/HRNet/HRNet-Image-Classification/releases/download/PretrainedWeights/"


def _network(file: str, trained_on: DataSet, score: str, *, align_corners: bool) -> Published:
    return Published(
        _SEGMENTATION + file,
        "symmetric",
        data=trained_on,
        align_corners=align_corners,
        score=score,
        publisher=AUTHORS,
        licence="MIT",
        pixels="imagenet",
        in_place_abn=file.endswith("torch04.pth"),
    )


_FLIP, _MULTI = "flip", "multi-scale, flip"

HRNET = {
    ("HRNet", "W48"): {
        ("cityscapes", ""): _network(
            "hrnet_cs_8090_torch11.pth", data.CITYSCAPES, "80.9 mIoU on val", align_corners=False
        ),
        ("lip", ""): _network(
            "hrnet_lip_5583_torch04.pth", data.LIP, f"55.83 mIoU on val, {_FLIP}", align_corners=False
        ),
        ("pascal_context", ""): _network(
            "hrnet_pascal_ctx_5410_torch11.pth",
            data.PASCAL_CONTEXT,
            f"54.1 mIoU on val, {_MULTI}",
            align_corners=False,
        ),
        ("coco_stuff", ""): _network(
            "hrnet_cocostuff_3617_torch04.pth", data.COCO_STUFF, "36.2 mIoU on val", align_corners=True
        ),
        ("ade20k", ""): _network("hrnet_ade20k_4312_torch04.pth", data.ADE20K, "43.1 mIoU on val", align_corners=True),
    }
}
OCR = {
    ("HRNet", "W48"): {
        ("cityscapes", ""): _network(
            "hrnet_ocr_cs_8162_torch11.pth", data.CITYSCAPES, "81.6 mIoU on val", align_corners=True
        ),
        ("cityscapes_trainval", ""): _network(
            "hrnet_ocr_cs_trainval_8227_torch11.pth",
            data.CITYSCAPES_TRAINVAL,
            f"82.3 mIoU on test, {_MULTI}",
            align_corners=True,
        ),
        ("lip", ""): _network(
            "hrnet_ocr_lip_5648_torch04.pth", data.LIP, f"56.48 mIoU on val, {_FLIP}", align_corners=True
        ),
        ("pascal_context", ""): _network(
            "hrnet_ocr_pascal_ctx_5618_torch11.pth",
            data.PASCAL_CONTEXT,
            f"56.2 mIoU on val, {_MULTI}",
            align_corners=True,
        ),
        ("coco_stuff", ""): _network(
            "hrnet_ocr_cocostuff_3965_torch04.pth", data.COCO_STUFF, "39.7 mIoU on val", align_corners=True
        ),
        ("ade20k", ""): _network(
            "hrnet_ocr_ade20k_4451_torch04.pth", data.ADE20K, "44.5 mIoU on val", align_corners=True
        ),
    }
}


def _timm(repository: str, publisher: str, licence: str, score: str = "") -> Published:
    """Weights in timm's collection on Hugging Face, whose networks pad as the official ones do."""
    source = f"{HUB_PREFIX}timm/{repository}"
    return Published(source, "symmetric", data.IMAGENET, None, score, f"{publisher} (timm)", licence)


def _authors(repository: str, error: float) -> Published:
    """By the top-1 error in README.md of HRNet-Image-Classification."""
    return _timm(repository, AUTHORS, "MIT", f"{100 - error:.1f} % top-1")


def _gluon(repository: str) -> Published:
    return _timm(repository, "GluonCV", "Apache-2.0")


def _ssld(width: int, error: float) -> Published:
    return _timm(f"hrnet_w{width}_ssld.paddle_in1k", "PaddleClas", "MIT", f"{100 - error:.1f} % top-1")


def _released(file: str, error: float) -> Published:
    score = f"{100 - error:.1f} % top-1"
    return Published(_CLASSIFICATION + file, "symmetric", data.IMAGENET, None, score, AUTHORS, "MIT")


# The authors' own first; their longer schedule with CutMix, GluonCV's training, SSLD's distillation have other names.
IMAGENET = {
    "W18_Small_V1": {
        "imagenet": _authors("hrnet_w18_small.ms_in1k", 27.7),
        "imagenet_gluon": _gluon("hrnet_w18_small.gluon_in1k"),
    },
    "W18_Small_V2": {
        "imagenet": _authors("hrnet_w18_small_v2.ms_in1k", 24.9),
        "imagenet_gluon": _gluon("hrnet_w18_small_v2.gluon_in1k"),
    },
    "W18": {
        "imagenet": _authors("hrnet_w18.ms_in1k", 23.2),
        "imagenet_cutmix": _authors("hrnet_w18.ms_aug_in1k", 22.1),
        "ssld": _ssld(18, 18.8),
    },
    "W30": {"imagenet": _authors("hrnet_w30.ms_in1k", 21.8)},
    "W32": {"imagenet": _authors("hrnet_w32.ms_in1k", 21.5)},
    "W40": {"imagenet": _authors("hrnet_w40.ms_in1k", 21.1)},
    "W44": {"imagenet": _authors("hrnet_w44.ms_in1k", 21.1)},
    "W48": {
        "imagenet": _authors("hrnet_w48.ms_in1k", 20.7),
        "imagenet_cutmix": _released("HRNet_W48_C_cosinelr_cutmix_300epoch.pth.tar", 18.9),
        "ssld": _ssld(48, 16.4),
    },
    "W64": {"imagenet": _authors("hrnet_w64.ms_in1k", 20.5)},
}
