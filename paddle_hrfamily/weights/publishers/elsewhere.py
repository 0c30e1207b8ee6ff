"""What is published without an address of its own, or not at all: get the file by hand and name it as `pretrained`."""

from __future__ import annotations

# Networks, data, where it is.
ELSEWHERE = (
    ("`ddrnet_23_slim`, `ddrnet_23` by the authors", "Cityscapes", "Google Drive (ydhongHIT/DDRNet)"),
    ("`ddrnet_39`", "ImageNet", "Google Drive (ydhongHIT/DDRNet)"),
    ("`ddrnet_39`, `ddrnet_39_1_5x`", "Cityscapes, CamVid", "not published; nor ImageNet for the latter"),
    ("`hrnet_w18_small_v1`, `hrnet_w18_small_v2`", "Cityscapes", "OneDrive, BaiduYun (branch pytorch-v1.1)"),
    ("`hrnet_w40`", "Cityscapes", "not published"),
    ("`hrnet_w48`", "Cityscapes with OHEM, train + val", "OneDrive, BaiduYun (branch master)"),
    ("`hrnet_w48`", "PASCAL-Context, 60 classes", "OneDrive, BaiduYun (branch HRNet-OCR)"),
    ("`hrnet_w48_ocr`", "PASCAL-Context, 60 classes", "BaiduYun; the direct link beside it leads to another file"),
    ("`hrnet_w32_pose`, `hrnet_w48_pose`", "COCO, MPII", "Google Drive, OneDrive"),
    ("`hrnet_w18_landmarks`", "AFLW, COFW, 300W, WFLW", "OneDrive (HRNet/HRNet-Facial-Landmark-Detection)"),
    ("`hrnet_w18_landmarks`", "COFW, AFLW, WFLW, 300W", "OneDrive (HRNet-Facial-Landmark-Detection)"),
    ("`hrnet_w60`, `hrnet_w44_c`, `hrnet_w76_c`, `hrnet_w96_c`", "ImageNet", "not published"),
    ("`uhrnet_w18`", "ImageNet", "not published"),
    ("`uhrnet_*` with OCR, and on other data than Cityscapes", "all", "not published"),
    ("`spgnet_*`, `*_specialize_fuse`", "all", "not published; their backbones' ImageNet weights are"),
)
