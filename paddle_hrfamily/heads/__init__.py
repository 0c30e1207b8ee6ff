"""Heads: features -> [main, *auxiliary] outputs at a stride of their own."""

from paddle_hrfamily.heads.classification import ClassificationHead
from paddle_hrfamily.heads.ddr import DDRHead
from paddle_hrfamily.heads.hrnetv2 import HRNetV2Head
from paddle_hrfamily.heads.ocr import OCRHead
from paddle_hrfamily.heads.pose import PoseHead
from paddle_hrfamily.heads.pyramid import PyramidHead
from paddle_hrfamily.heads.specialize_fuse import SpecializeFuseHead

__all__ = ["ClassificationHead", "DDRHead", "HRNetV2Head", "OCRHead", "PoseHead", "PyramidHead", "SpecializeFuseHead"]
