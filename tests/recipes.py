"""What the authors train with, typed in from their papers and repositories and not from our YAML.

HRNet and OCR: experiments/*/*.yaml and lib/datasets/*.py of HRNet/HRNet-Semantic-Segmentation (branches HRNet-OCR and
pytorch-v1.1), sizes of PASCAL-Context without OCR from the paper. DDRNet: section V-B, and chenjun2hao/DDRNet.pytorch
for OHEM and class weights. U-HRNet: PaddleSeg's configs/uhrnet and configs/_base_/cityscapes.yml; depth section 5.2.
SPGNet: sections 4.2 and 4.6. Specialize and Fuse: section 5.1.1. Synapse: trainer.py and datasets/ of
Beckschen/TransUNet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CITYSCAPES_WEIGHTS = (
    *(0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023),
    *(0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
)


@dataclass(frozen=True)
class Loss:
    """One output's: "ce", "pixels" (averaged over all pixels), "ohem" (threshold, kept), "ce+dice" or "l1"."""

    kind: str = "ce"
    weights: tuple[float, ...] | None = None
    ohem: tuple[float, int] | None = None
    coefficient: float = 1


@dataclass(frozen=True)
class Official:
    """A recipe; scales are (long side at 1, least, greatest, step), without the first where images keep their size."""

    rate: float
    decay: float
    batch: int
    iterations: int
    crop: tuple[int, int] | None  # width, height
    scales: tuple[float, ...]
    losses: tuple[Loss, ...] = (Loss(),)
    optimizer: str = "Momentum"
    head_rate: float = 1
    padding: float | None = 0
    short_side: int | None = None
    squashed: tuple[int, int] | None = None
    normalized: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    batch_norm_momentum: float = 0.9
    align_corners: bool = False
    also: tuple[str, ...] = ("RandomHorizontalFlip",)  # the other random transforms


def with_auxiliary(recipe: Official, kind: str) -> Official:
    """With OCR's soft regions as a second output, of weight 0.4."""
    auxiliary = Loss(kind, recipe.losses[0].weights, coefficient=0.4)
    return replace(recipe, losses=(recipe.losses[0], auxiliary), align_corners=True)


OHEM = Loss("ohem", ohem=(0.9, 131072))
CITYSCAPES = Official(
    *(0.01, 5e-4, 3, 120000, (1024, 512), (2048, 0.5, 2.1, 0.1)), losses=(Loss("ce", CITYSCAPES_WEIGHTS),)
)
OLDER = replace(CITYSCAPES, batch_norm_momentum=0.99)  # branches master and pytorch-v1.1
ADE20K = Official(0.02, 1e-4, 4, 151575, (520, 520), (520, 0.5, 1.6, 0.1), (OHEM,), short_side=520)
COCO_STUFF = Official(
    *(0.001, 1e-4, 4, 61875, (520, 520), (520, 0.5, 2.1, 0.1), (OHEM,)),
    head_rate=10,
    short_side=520,
    align_corners=True,
)
PASCAL_CONTEXT = Official(
    *(0.004, 1e-4, 4, 60000, (480, 480), (520, 0.5, 2.1, 0.1)), short_side=520, batch_norm_momentum=0.99
)
OCR_PASCAL_CONTEXT = replace(
    with_auxiliary(PASCAL_CONTEXT, "ce"),
    rate=0.001,
    iterations=62475,
    crop=(520, 520),
    head_rate=10,
    batch_norm_momentum=0.9,
)
LIP = Official(
    *(0.007, 5e-4, 10, 110000, (473, 473), (473, 0.5, 1.6, 0.1)), squashed=(473, 473), also=("RandomMirror",)
)
OCR_ADE20K = with_auxiliary(replace(ADE20K, scales=(520, 0.5, 2.1, 0.1)), "pixels")
DDRNET = replace(
    CITYSCAPES,
    crop=(1024, 1024),
    scales=(2048, 0.5, 2.0, 0.1),
    losses=(
        Loss("ohem", CITYSCAPES_WEIGHTS, (0.9, 131072)),
        Loss("pixels", CITYSCAPES_WEIGHTS, coefficient=0.4),
    ),
)
DDRNET_CAMVID = Official(
    *(0.001, 5e-4, 12, 37752, (960, 720), (960, 0.5, 2.0, 0.1)), losses=(OHEM, Loss("pixels", coefficient=0.4))
)
UHRNET = replace(
    CITYSCAPES,
    scales=(0.5, 2.0, 0.25),
    losses=(Loss(),),
    padding=127.5,
    normalized=HALF,
    also=("RandomHorizontalFlip", "RandomDistort"),
)
STAGES = (Loss(), Loss())
STAGES_OHEM = (Loss("ohem", ohem=(0.7, 100000)),) * 2
SPGNET = Official(0.01, 1e-4, 2, 80000, (769, 769), (0.5, 2.0, 0.25), STAGES, padding=127.5)
SPGNET_D256 = replace(SPGNET, crop=(865, 865), losses=STAGES_OHEM)
DEEPLAB = Official(0.007, 4e-5, 7, 30000, (513, 513), (0.5, 2.0, 0.25), STAGES, padding=127.5)
FUSED = Official(
    *(0.02, 1e-4, 4, 151575, (512, 512), (520, 0.5, 2.0, 0)),
    short_side=520,
    also=("RandomBrightness", "RandomHorizontalFlip"),
)
FUSED_COCO = replace(FUSED, rate=0.001, iterations=61875, head_rate=10)
FUSED_PASCAL = replace(FUSED, rate=0.001, iterations=62475, head_rate=10)
DEPTH = Official(
    *(1e-4, 1e-4, 6, 10600, None, ()),
    losses=(Loss("l1"),),
    optimizer="Adam",
    padding=None,
    also=("RandomDepthZoom", "RandomHorizontalFlip"),
)
DEPTH_LARGE = replace(DEPTH, batch=16, iterations=75722)
SYNAPSE = Official(
    *(0.01, 1e-4, 24, 14000, None, ()),
    losses=(Loss("ce+dice"),),
    padding=None,
    squashed=(224, 224),
    also=("RandomSliceRotation",),
)

OFFICIAL = {
    **dict.fromkeys(
        (f"hrnet_{v}_cityscapes" for v in ("w48", "w40", "w18", "w18_small_v1", "w18_small_v2")),
        OLDER,
    ),
    "hrnet_w48_ocr_cityscapes": with_auxiliary(CITYSCAPES, "ce"),
    "hrnet_w48_ade20k": replace(ADE20K, align_corners=True),
    "hrnet_w18_small_v2_ade20k": ADE20K,
    "hrnet_w48_ocr_ade20k": OCR_ADE20K,
    "hrnet_w48_coco_stuff": COCO_STUFF,
    "hrnet_w48_ocr_coco_stuff": with_auxiliary(COCO_STUFF, "pixels"),
    "hrnet_w48_pascal_context": PASCAL_CONTEXT,
    "hrnet_w48_pascal_context60": PASCAL_CONTEXT,
    "hrnet_w48_ocr_pascal_context": OCR_PASCAL_CONTEXT,
    "hrnet_w48_ocr_pascal_context60": OCR_PASCAL_CONTEXT,
    "hrnet_w48_lip": replace(LIP, batch_norm_momentum=0.99),
    "hrnet_w48_ocr_lip": with_auxiliary(LIP, "ce"),
    "uhrnet_w48_cityscapes": UHRNET,
    "uhrnet_w18_small_cityscapes": UHRNET,
    "uhrnet_w48_ocr_cityscapes": replace(
        UHRNET, losses=(Loss("ce", CITYSCAPES_WEIGHTS), Loss("ce", CITYSCAPES_WEIGHTS, coefficient=0.4))
    ),
    "uhrnet_w48_ade20k": ADE20K,
    "uhrnet_w18_small_ade20k": ADE20K,
    "uhrnet_w48_ocr_ade20k": replace(OCR_ADE20K, align_corners=False),
    "uhrnet_w48_lip": LIP,
    "uhrnet_w48_ocr_lip": replace(with_auxiliary(LIP, "ce"), align_corners=False),
    "uhrnet_w48_synapse": SYNAPSE,
    **dict.fromkeys((f"ddrnet_{v}_cityscapes" for v in ("23_slim", "23", "39", "39_1_5x")), DDRNET),
    **dict.fromkeys((f"ddrnet_{v}_camvid_960x720" for v in ("23_slim", "23")), DDRNET_CAMVID),
    "spgnet_r18_cityscapes": SPGNET,
    "spgnet_r50_cityscapes": SPGNET,
    "spgnet_r101_cityscapes": replace(SPGNET, losses=STAGES_OHEM),
    "spgnet_r50_d256_cityscapes": SPGNET_D256,
    "spgnet_r101_d256_cityscapes": SPGNET_D256,
    "spgnet_r50_pascal_voc": DEEPLAB,
    "spgnet_r50_person_part": DEEPLAB,
    **{f"{net}_specialize_fuse_ade20k": FUSED for net in ("hrnet_w48", "resnet101")},
    **{f"{net}_specialize_fuse_coco_stuff": FUSED_COCO for net in ("hrnet_w48", "resnet101")},
    **{f"{net}_specialize_fuse_pascal_context": FUSED_PASCAL for net in ("hrnet_w48", "resnet101")},
    "hrnet_w32_specialize_fuse_ade20k_split": replace(FUSED, iterations=121575),
    **{
        f"{net}_nyuv2{large}": DEPTH_LARGE if large else DEPTH
        for net in ("hrnet_w48", "hrnet_w18_small_v2", "uhrnet_w48", "uhrnet_w18_small")
        for large in ("", "_large")
    },
}
