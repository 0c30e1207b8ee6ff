"""Specialize and Fuse: Pyramidal Output Representation for Semantic Segmentation (ICCV 2021).

A coarse cell that holds one class is predicted once, at its own level; finer levels predict what is left. Points that
the paper leaves open are decided beside the code that they concern: truth and relabelling in `losses.pyramid`, the
heads in `heads.unity` and `heads.semantic_pyramid`, the fusion in `heads.specialize_fuse`, sizes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.heads import SpecializeFuseHead
from paddle_hrfamily.heads.semantic_pyramid import Context
from paddle_hrfamily.layers import resize_as
from paddle_hrfamily.losses.pyramid import RELABELLINGS, Pyramid, Relabelling, pyramid_losses, ratios
from paddle_hrfamily.models.segmentor import Losses, Segmentor
from paddle_hrfamily.registry import Entry, Family

OUTPUTS = ("pyramid", "single")
# With the light decoder on ResNet-101, as many channels as HRNet-W48 has (section 5.1.2).
_ON_RESNET = Entry(backbone="ResNet", variant="R101", size=(512, 512), model_options={"decoder_width": 48})


@registry.model(
    Family("_specialize_fuse", ("HRNet", "UHRNet"), Entry(size=(512, 512))),
    entries={"resnet101_specialize_fuse": _ON_RESNET},
)
class SpecializeFuse(Segmentor):
    """Unity and semantic pyramid on any backbone: image (N, in_channels, H, W) -> [logits (N, num_classes, H, W)].

    Training returns the logits of all levels, each at its own stride, for `loss_computation`; evaluation the fused ones
    of equation 2.

    Sizes: the image is resized to the nearest multiple of the coarsest stride (section 3.1), in training the label with
    it. The fused logits, one for every cell of the finest level, are resized to the image bilinearly, as those of any
    network of this stride: a pixel whose neighbouring cells agree has their class, and only outlines are interpolated.
    That holds across levels too: softmax and arg-max of the mixture do not see what constant each level's logits have.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, finest first, at the finest of
            `strides`.
        num_classes: classes to tell apart.
        strides: pixels of a cell at each level, finest first, each a power of two times the one before; (4, 32) is
            the paper's other choice.
        output: "pyramid", or "single": the finest level alone is predicted, which tables 6 to 8 compare with. Its
            context still goes through the levels of all `strides`.
        relabel: which cells training leaves to a coarser level: "coarser_true_positives", "simple_fix" or "naive",
            as in table 7.
        context: the contextual module, a column of table 6: "coarse_to_fine" is the paper's, "anl" and "anl_multi" what
            it is held against; "none". True and False stand for the first and the last.
        threshold: τ, the probability from which a cell is taken for a unity-cell, in inference and in relabelling.
            Above 1 no cell is, and the prediction is the finest level's alone.
        relabel_threshold: τ of relabelling, where it is another. With a `threshold` above 1 and 0.9 here, training is
            the paper's and inference does not fuse: table 8's auxiliary supervision.
        semantic_channels: D_s, the width of the semantic head (section 5.1.3).
        unity_channels: D_u, that of the unity head.
        unity_as_written: the unity head to the letter of section 4.1 (see `heads.unity` for where the other departs).
        decoder_width: put the light decoder of section 5.1.2 between backbone and heads, with this many channels at
            stride 4, twice as many at 8, and so on: 48 makes the paper's 720 in all. It is for features of strides 4,
            8, 16, 32. None concatenates the features as they are, which is for HRNet and U-HRNet.
        align_corners: corner handling of the resizes, in the backbone's features and the output.
        pretrained: as in Segmentor.

    Raises:
        UserError: an argument is none of these, or weights do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = 19,
        *,
        strides: Sequence[int] = (4, 8, 16, 32),
        output: Literal["pyramid", "single"] = "pyramid",
        relabel: Relabelling = "coarser_true_positives",
        context: Context | bool = "coarse_to_fine",
        threshold: float = 0.9,
        relabel_threshold: float | None = None,
        semantic_channels: int = 512,
        unity_channels: int = 64,
        unity_as_written: bool = False,
        decoder_width: int | None = None,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        known = traits_for(type(self), backbone)
        _check_strides(strides, known.feat_strides)
        if relabel not in RELABELLINGS:
            raise unknown("relabelling", relabel, RELABELLINGS)
        if output not in OUTPUTS:
            raise unknown("output of Specialize and Fuse", output, OUTPUTS)
        if isinstance(context, bool):
            context = "coarse_to_fine" if context else "none"
        head = SpecializeFuseHead(
            known.feat_channels,
            num_classes,
            strides=strides,
            context=context,
            threshold=threshold,
            single=output == "single",
            semantic_channels=semantic_channels,
            unity_channels=unity_channels,
            unity_as_written=unity_as_written,
            decoder_width=decoder_width,
            channel_pool=known.pools_channels,
            align_corners=align_corners,
        )
        super().__init__(backbone, head, num_classes=num_classes, align_corners=align_corners, pretrained=pretrained)
        self.strides = tuple(strides)
        self.levels = self.strides[:1] if output == "single" else self.strides  # those that are predicted, finest first
        self.relabel = relabel
        self.threshold = threshold
        self.relabel_threshold = threshold if relabel_threshold is None else relabel_threshold

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        logits = self.native_logits(image)
        return logits if self.training else [resize_as(logits[0], image, self.align_corners)]

    def native_logits(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """In evaluation [logits (N, num_classes, h, w)] over the whole image, on the grid of the finest level."""
        return self.head(self.backbone(_to_multiple(image, self.strides[-1], self.align_corners)))

    def loss_computation(
        self, logits_list: Sequence[paddle.Tensor], losses: Losses, data: Mapping[str, paddle.Tensor]
    ) -> list[paddle.Tensor]:
        """Equation 1, term by term: a loss for each semantic level, coarsest first, then one for each unity level.

        Args:
            logits_list: what `forward` returns in training.
            losses: PaddleSeg's {"types", "coef"}. The type takes the place of the paper's CE at every semantic level;
                where it counts pixels, as OHEM's min_kept does, it counts cells. coef is its weight and, if there are
                two, that of the unity levels' BCE, else 1.
            data: with "label", (N, H, W).

        Raises:
            UserError: more than two coefficients, or losses of several types.
        """
        criterion, (semantic_weight, unity_weight) = _criterion(losses)
        levels = len(self.levels)
        terms = pyramid_losses(
            Pyramid(list(logits_list[:levels]), list(logits_list[levels:])),
            data["label"].astype("int64"),
            self.levels,
            lambda logits, label: _total(criterion(logits, label)),
            relabelling=self.relabel,
            threshold=self.relabel_threshold,
            ignore_index=_ignore_index(criterion),
        )
        return [semantic_weight * term for term in terms.semantic] + [unity_weight * term for term in terms.unity]


def _check_strides(strides: Sequence[int], feat_strides: Sequence[int]) -> None:
    steps = zip(ratios(strides), strides, strides[1:])
    if not strides or any(step < 2 or step & (step - 1) or step * fine != coarse for step, fine, coarse in steps):
        raise UserError(
            f"strides {list(strides)}: from the finest level on, each must be a power of two (2, 4, …) times the one "
            f"before, such as [4, 8, 16, 32]"
        )
    if feat_strides and feat_strides[0] != strides[0]:
        raise UserError(
            f"strides {list(strides)} begin with {strides[0]}, but the backbone's finest feature has stride "
            f"{feat_strides[0]}: begin with that"
        )


def _criterion(losses: Losses) -> tuple[nn.Layer, tuple[float, float]]:
    types, coef = losses["types"], losses["coef"]
    if len(coef) > 2 or len({type(item) for item in types}) > 1:
        raise UserError(
            f"loss: SpecializeFuse takes one type, and one or two coef (semantic levels, unity levels), not "
            f"{', '.join(type(item).__name__ for item in types)} with {list(coef)}; MixedLoss makes one type of several"
        )
    return types[0], (coef[0], coef[1] if len(coef) > 1 else 1)


def _total(loss: paddle.Tensor | list[paddle.Tensor]) -> paddle.Tensor:
    return sum(loss) if isinstance(loss, list) else loss  # PaddleSeg's MixedLoss returns its parts


def _ignore_index(criterion: nn.Layer) -> int:
    """Of the loss, or of the first loss that a MixedLoss has; PaddleSeg's usual one if it knows none."""
    parts = [criterion, *getattr(criterion, "losses", [])]
    return next((part.ignore_index for part in parts if hasattr(part, "ignore_index")), 255)


@paddle.jit.not_to_static  # the shape read here is what decides between constants and operators in an exported graph
def _to_multiple(image: paddle.Tensor, stride: int, align_corners: bool) -> paddle.Tensor:
    """The image resized to the nearest height and width that `stride` divides, one cell at least."""
    size = image.shape[2:]
    if min(size) < 0:
        whole = paddle.clip((paddle.shape(image)[2:] + stride // 2) // stride * stride, min=stride)
    else:
        whole = [max((n + stride // 2) // stride * stride, stride) for n in size]
        if whole == size:
            return image
    return F.interpolate(image, whole, mode="bilinear", align_corners=align_corners)
