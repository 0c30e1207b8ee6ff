"""Whole networks: a backbone, and a head that makes the output of its features."""

# `hrfamily list` shows the models in the order in which these files register them.
# isort: off
from paddle_hrfamily.models.segmentor import Segmentor
from paddle_hrfamily.models.hrnetseg import HRNetSeg
from paddle_hrfamily.models.ocrseg import OCRSeg
from paddle_hrfamily.models.specialize_fuse import SpecializeFuse
from paddle_hrfamily.models.hrdepth import HRDepth
from paddle_hrfamily.models.hrnet_classifier import HRNetClassifier
from paddle_hrfamily.models.hrnet_pose import HRNetPose
from paddle_hrfamily.models.hrnet_landmarks import HRNetLandmarks
from paddle_hrfamily.models.hrfpn import HRFPN
from paddle_hrfamily.models.ddrseg import DDRSeg
from paddle_hrfamily.models.ddrnet_classifier import DDRNetClassifier
from paddle_hrfamily.models.spgnet import SPGNet

__all__ = [
    "HRFPN",
    "DDRNetClassifier",
    "DDRSeg",
    "HRDepth",
    "HRNetClassifier",
    "HRNetLandmarks",
    "HRNetPose",
    "HRNetSeg",
    "OCRSeg",
    "SPGNet",
    "Segmentor",
    "SpecializeFuse",
]
