"""Data sets that PaddleSeg lacks, each with the check of its folder, its classes and their colours."""

from paddle_hrfamily.data import paddleseg_classes  # noqa: F401  registers the classes of PaddleSeg's data sets
from paddle_hrfamily.data.ade20k_split import ADE20KSplit
from paddle_hrfamily.data.camvid import CamVid
from paddle_hrfamily.data.cityscapes import CityscapesFine
from paddle_hrfamily.data.hrnet_transforms import AsUint8, RandomBrightness, RandomScaleLongSide, ResizeShortSide
from paddle_hrfamily.data.human_parsing import LIP, PascalPersonPart
from paddle_hrfamily.data.nyuv2 import NYUv2Depth
from paddle_hrfamily.data.own_data import OwnData
from paddle_hrfamily.data.pascal_context import PascalContext60
from paddle_hrfamily.data.reading import NormalizeBands
from paddle_hrfamily.data.slice_transforms import RandomSliceRotation
from paddle_hrfamily.data.street_scenes import StreetScenes
from paddle_hrfamily.data.synapse import Synapse
from paddle_hrfamily.data.transforms import RandomDepthZoom, RandomMirror

__all__ = [
    "LIP",
    "ADE20KSplit",
    "AsUint8",
    "CamVid",
    "CityscapesFine",
    "NYUv2Depth",
    "NormalizeBands",
    "OwnData",
    "PascalContext60",
    "PascalPersonPart",
    "RandomBrightness",
    "RandomDepthZoom",
    "RandomMirror",
    "RandomScaleLongSide",
    "RandomSliceRotation",
    "ResizeShortSide",
    "StreetScenes",
    "Synapse",
]
