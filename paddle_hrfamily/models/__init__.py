"""Whole networks: a backbone with what makes an answer of its features."""

from paddle_hrfamily.models.hrnetseg import HRNetSeg
from paddle_hrfamily.models.ocrseg import OCRSeg
from paddle_hrfamily.models.segmentor import Segmentor

__all__ = ["HRNetSeg", "OCRSeg", "Segmentor"]
