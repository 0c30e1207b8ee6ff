"""Whole networks: a backbone with what makes an answer of its features."""

from paddle_hrfamily.models.ddrnet_classifier import DDRNetClassifier
from paddle_hrfamily.models.ddrseg import DDRSeg
from paddle_hrfamily.models.hrdepth import HRDepth
from paddle_hrfamily.models.hrnet_classifier import HRNetClassifier
from paddle_hrfamily.models.hrnet_pose import HRNetPose
from paddle_hrfamily.models.hrnet_pyramid import HRNetPyramid
from paddle_hrfamily.models.hrnetseg import HRNetSeg
from paddle_hrfamily.models.ocrseg import OCRSeg
from paddle_hrfamily.models.segmentor import Segmentor
from paddle_hrfamily.models.specialize_fuse import SpecializeFuse
from paddle_hrfamily.models.spgnet import SPGNet

__all__ = [
    "DDRNetClassifier",
    "DDRSeg",
    "HRDepth",
    "HRNetClassifier",
    "HRNetPose",
    "HRNetPyramid",
    "HRNetSeg",
    "OCRSeg",
    "SPGNet",
    "Segmentor",
    "SpecializeFuse",
]
