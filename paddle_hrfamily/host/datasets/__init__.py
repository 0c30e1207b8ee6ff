"""Data sets that PaddleSeg lacks, each with the check of its folder."""

from paddle_hrfamily.host.datasets.camvid import CamVid
from paddle_hrfamily.host.datasets.nyuv2 import NYUv2Depth
from paddle_hrfamily.host.datasets.people import LIP, PascalPersonPart
from paddle_hrfamily.host.datasets.synapse import Synapse

__all__ = ["LIP", "CamVid", "NYUv2Depth", "PascalPersonPart", "Synapse"]
