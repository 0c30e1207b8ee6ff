"""Heads: features -> [main, *auxiliary] outputs at a stride of their own."""

from paddle_hrfamily.heads.hrnetv2 import HRNetV2Head
from paddle_hrfamily.heads.ocr import OCRHead

__all__ = ["HRNetV2Head", "OCRHead"]
