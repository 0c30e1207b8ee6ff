"""What mmsegmentation publishes: HRNet with its FCN head, OCRNet, DDRNet.

Addresses and scores: configs/{hrnet,ocrnet,ddrnet}/metafile.yaml of mmsegmentation 1.2.2; the ImageNet weights of
DDRNet, which it converted from the official repository's, are named in its DDRNet configs. Every config has
align_corners False, and pads as the official networks do. The end of a file's name is the beginning of its SHA-256
(tools/misc/publish_model.py). Its "HRNetV2p-W18-Small" is the official small v2.

mmsegmentation resizes by scale factors: where 32 does not divide an image's sides its own answers differ from ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from paddle_hrfamily.registry import DataSet, Published
from paddle_hrfamily.weights.publishers import data_sets as data

_ROOT = "https://download.openmmlab.com/mmsegmentation/v0.5/"
_VARIANTS = {"hr18s": "W18_Small_V2", "hr18": "W18", "hr48": "W48"}
_DATA = {
    "cityscapes": ("cityscapes", data.CITYSCAPES),
    "ade20k": ("ade20k", data.ADE20K),
    "voc12aug": ("voc", data.PASCAL_VOC),
    "pascal_context": ("pascal_context_60", data.PASCAL_CONTEXT_60),
    "pascal_context_59": ("pascal_context", data.PASCAL_CONTEXT),
    "loveda": ("loveda", data.LOVEDA),
    "potsdam": ("potsdam", data.POTSDAM),
    "vaihingen": ("vaihingen", data.VAIHINGEN),
    "isaid": ("isaid", data.ISAID),
}

# Folder, the rest of the file's name, mIoU of a single scale.
_FCN = """
fcn_hr18s_512x1024_40k_cityscapes 20200601_014216-93db27d0 73.86
fcn_hr18_512x1024_40k_cityscapes 20200601_014216-f196fb4e 77.19
fcn_hr48_512x1024_40k_cityscapes 20200601_014240-a989b146 78.48
fcn_hr18s_512x1024_80k_cityscapes 20200601_202700-1462b75d 75.31
fcn_hr18_512x1024_80k_cityscapes 20200601_223255-4e7b345e 78.65
fcn_hr48_512x1024_80k_cityscapes 20200601_202606-58ea95d6 79.93
fcn_hr18s_512x1024_160k_cityscapes 20200602_190901-4a0797ea 76.31
fcn_hr18_512x1024_160k_cityscapes 20200602_190822-221e4a4f 78.80
fcn_hr48_512x1024_160k_cityscapes 20200602_190946-59b7973e 80.65
fcn_hr18s_512x512_80k_ade20k 20200614_144345-77fc814a 31.38
fcn_hr18_512x512_80k_ade20k 20210827_114910-6c9382c0 36.27
fcn_hr48_512x512_80k_ade20k 20200614_193946-7ba5258d 41.90
fcn_hr18s_512x512_160k_ade20k 20210829_174739-f1e7c2e7 33.07
fcn_hr18_512x512_160k_ade20k 20200614_214426-ca961836 36.79
fcn_hr48_512x512_160k_ade20k 20200614_214407-a52fc02c 42.02
fcn_hr18s_512x512_20k_voc12aug 20210829_174910-0aceadb4 65.50
fcn_hr18_512x512_20k_voc12aug 20200617_224503-488d45f7 72.30
fcn_hr48_512x512_20k_voc12aug 20200617_224419-89de05cd 75.87
fcn_hr18s_512x512_40k_voc12aug 20200614_000648-4f8d6e7f 66.61
fcn_hr18_512x512_40k_voc12aug 20200613_224401-1b4b76cd 72.90
fcn_hr48_512x512_40k_voc12aug 20200613_222111-1b0f18bc 76.24
fcn_hr48_480x480_40k_pascal_context 20200911_164852-667d00b0 45.14
fcn_hr48_480x480_80k_pascal_context 20200911_155322-847a6711 45.84
fcn_hr48_480x480_40k_pascal_context_59 20210410_122738-b808b8b2 50.33
fcn_hr48_480x480_80k_pascal_context_59 20210411_003240-3ae7081e 51.12
fcn_hr18s_512x512_80k_loveda 20211210_203228-60a86a7a 49.28
fcn_hr18_512x512_80k_loveda 20211210_203952-93d9c3b3 50.81
fcn_hr48_512x512_80k_loveda 20211211_044756-67072f55 51.42
fcn_hr18s_512x512_80k_potsdam 20211218_205517-ba32af63 77.64
fcn_hr18_512x512_80k_potsdam 20211218_205517-5d0387ad 78.26
fcn_hr48_512x512_80k_potsdam 20211219_020601-97434c78 78.39
fcn_hr18s_4x4_512x512_80k_vaihingen 20211231_230909-b23aae02 71.81
fcn_hr18_4x4_512x512_80k_vaihingen 20211231_231216-2ec3ae8a 72.57
fcn_hr48_4x4_512x512_80k_vaihingen 20211231_231244-7133cb22 72.50
fcn_hr18s_4x4_896x896_80k_isaid 20220118_001603-3cc0769b 62.30
fcn_hr18_4x4_896x896_80k_isaid 20220110_182230-49bf752e 65.06
fcn_hr48_4x4_896x896_80k_isaid 20220114_174643-547fc420 67.80
"""
_OCR = """
ocrnet_hr18s_4xb2-40k_cityscapes-512x1024 20230227_145026-6c052a14 76.61
ocrnet_hr18_512x1024_40k_cityscapes 20200601_033320-401c5bdd 77.72
ocrnet_hr48_512x1024_40k_cityscapes 20200601_033336-55b32491 80.58
ocrnet_hr18s_512x1024_80k_cityscapes 20200601_222735-55979e63 77.16
ocrnet_hr18_512x1024_80k_cityscapes 20200614_230521-c2e1dd4a 78.57
ocrnet_hr48_512x1024_80k_cityscapes 20200601_222752-9076bcdf 80.70
ocrnet_hr18s_512x1024_160k_cityscapes 20200602_191005-f4a7af28 78.45
ocrnet_hr18_512x1024_160k_cityscapes 20200602_191001-b9172d0c 79.47
ocrnet_hr48_512x1024_160k_cityscapes 20200602_191037-dfbf1b0c 81.35
ocrnet_hr18s_512x512_80k_ade20k 20200615_055600-e80b62af 35.06
ocrnet_hr18_512x512_80k_ade20k 20200615_053157-d173d83b 37.79
ocrnet_hr48_512x512_80k_ade20k 20200615_021518-d168c2d1 43.00
ocrnet_hr18s_512x512_160k_ade20k 20200615_184505-8e913058 37.19
ocrnet_hr18_512x512_160k_ade20k 20200615_200940-d8fcd9d1 39.32
ocrnet_hr48_512x512_160k_ade20k 20200615_184705-a073726d 43.25
ocrnet_hr18s_512x512_20k_voc12aug 20200617_233913-02b04fcb 71.70
ocrnet_hr18_512x512_20k_voc12aug 20200617_233932-8954cbb7 74.75
ocrnet_hr48_512x512_20k_voc12aug 20200617_233932-9e82080a 77.72
ocrnet_hr18s_512x512_40k_voc12aug 20200614_002025-42b587ac 72.76
ocrnet_hr18_512x512_40k_voc12aug 20200614_015958-714302be 74.98
ocrnet_hr48_512x512_40k_voc12aug 20200614_015958-255bc5ce 77.14
"""


def _published(path: str, score: str, trained_on: DataSet) -> Published:
    digest = path.rpartition("-")[2].removesuffix(".pth")
    source = _ROOT + path
    return Published(
        source, "symmetric", trained_on, False, score, "mmsegmentation", "Apache-2.0", sha256=digest, pixels="imagenet"
    )


def _rows(table: str, section: str) -> Iterator[tuple[str, str, str, float, Published]]:
    """Variant, data, schedule, mIoU, weights."""
    for line in table.split("\n")[1:-1]:
        folder, stamp, score = line.split()
        variant = _VARIANTS[folder.split("_")[1]]
        schedule = re.findall(r"\d+k(?=_|$)", folder)[0]
        name, trained_on = next(_DATA[key] for key in _DATA if re.search(rf"k_{key}(-|$)", folder))
        weights = _published(f"{section}/{folder}/{folder}_{stamp}.pth", f"{score} mIoU on val", trained_on)
        yield variant, name, schedule, float(score), weights


def _table(table: str, section: str) -> dict[tuple[str, str], dict[tuple[str, str], Published]]:
    """Every schedule by its name, and without one the schedule that scored best."""
    found: dict[tuple[str, str], dict[tuple[str, str], Published]] = {}
    rows = list(_rows(table, section))
    for variant, name, schedule, score, weights in rows:
        of_variant = found.setdefault(("HRNet", variant), {})
        if score == max(other[3] for other in rows if other[:2] == (variant, name)):
            of_variant[name, ""] = weights
        of_variant[name, schedule] = weights
    return found


HRNET = _table(_FCN, "hrnet")
OCR = _table(_OCR, "ocrnet")


def _ddrnet(size: str, stamp: str, score: str) -> dict[tuple[str, str], Published]:
    folder = f"ddrnet_{size}_in1k-pre_2xb6-120k_cityscapes-1024x1024"
    weights = _published(f"ddrnet/{folder}/{folder}_{stamp}.pth", f"{score} mIoU on val", data.CITYSCAPES)
    return {("cityscapes", ""): weights}


DDRNET = {
    ("DDRNet", "23_slim"): _ddrnet("23-slim", "20230426_145312-6a5e5174", "77.84"),
    ("DDRNet", "23"): _ddrnet("23", "20230425_162633-81601db0", "79.99"),
}


def _pretrained(file: str, score: str = "") -> Published:
    digest = file.rpartition("-")[2].removesuffix(".pth")
    publisher = "DDRNet's authors (converted by mmsegmentation)"
    source = f"{_ROOT}ddrnet/pretrain/{file}"
    return Published(source, "symmetric", data.IMAGENET, None, score, publisher, "Apache-2.0", sha256=digest)


# By the top-1 error in the official README, which has two trainings of DDRNet-23-slim; which this is, none says.
DDRNET_IMAGENET = {
    "23_slim": _pretrained("ddrnet23s-in1kpre_3rdparty-1ccac5b1.pth"),
    "23": _pretrained("ddrnet23-in1kpre_3rdparty-9ca29f62.pth", "75.9 % top-1"),
}
