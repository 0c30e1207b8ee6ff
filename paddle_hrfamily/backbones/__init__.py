"""Backbones: `forward(image (N, C, H, W)) -> list of features`, with `feat_channels` and `feat_strides`."""

from paddle_hrfamily.backbones.ddrnet import DDRNet, DDRNetTrunk
from paddle_hrfamily.backbones.hrnet import HRNet
from paddle_hrfamily.backbones.resnet import ResNet
from paddle_hrfamily.backbones.uhrnet import UHRNet

__all__ = ["DDRNet", "DDRNetTrunk", "HRNet", "ResNet", "UHRNet"]
