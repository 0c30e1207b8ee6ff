"""Heads: features -> [main, *auxiliary] logits, each (N, num_classes, H/4, W/4)."""

from paddle_hrfamily.heads.hrnetv2 import HRNetV2Head

__all__ = ["HRNetV2Head"]
