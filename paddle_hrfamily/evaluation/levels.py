"""What the levels of Specialize and Fuse are good at: its table 9 and figure 3 (section 5.5).

Table 9 puts every pixel in the group of the level that the predicted unity pyramid assigns it to, and has each level
predict each group. Figure 3 has a level predict all pixels, and takes from its IoU of every class that of the fused
prediction. Where the paper is silent: a mean is over the classes that the labels of its pixels have, and images are
seen whole, at one scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation.counts import areas, gathered, pixel_counts
from paddle_hrfamily.evaluation.segmentation import class_names
from paddle_hrfamily.heads.specialize_fuse import fuse
from paddle_hrfamily.inference.prediction import samples
from paddle_hrfamily.inference.protocol import Protocol, resized, restored
from paddle_hrfamily.models import SpecializeFuse


def evaluate(
    model: nn.Layer,
    dataset: paddle.io.Dataset,
    *,
    protocol: Protocol | None = None,
    num_workers: int = 0,
    quiet: bool = False,
) -> LevelReport:
    """Predict every image with every level.

    Args:
        model: SpecializeFuse with two levels or more.
        dataset: of images and labels.
        protocol: says at which size images are seen, where it does.
        num_workers: processes that load images.
        quiet: without a progress bar.

    Raises:
        UserError: another network, or one of a single level.
    """
    if not isinstance(model, SpecializeFuse) or model.head.unity is None:
        raise UserError(f"--levels: {type(model).__name__} has no levels; SpecializeFuse of two strides or more has")
    rank, ranks = paddle.distributed.get_rank(), paddle.distributed.get_world_size()
    mine = range(rank, len(dataset), ranks)
    count, classes = len(model.strides), dataset.num_classes
    counts = np.zeros((count, count + 1, classes + 2, classes + 1), "int64")
    model.eval()
    with paddle.no_grad(), _pyramid(model) as heard:
        for sample in samples(dataset, mine, num_workers, "evaluating levels", quiet=quiet):
            label = sample["label"].astype("int64")
            assigned, predicted = _level_maps(model, sample, heard, protocol)
            for by, classes_predicted in enumerate(predicted):
                for level in range(count):
                    label_of_group = paddle.where(
                        assigned == level, label, paddle.full_like(label, dataset.ignore_index)
                    )
                    counts[level, by] += pixel_counts(classes_predicted, label_of_group, classes, dataset.ignore_index)
    return LevelReport(gathered(counts), class_names(dataset), model.strides[::-1], dataset.ignore_index)


@contextmanager
def _pyramid(model: SpecializeFuse) -> Iterator[dict[str, list[paddle.Tensor]]]:
    """Within the `with`, what the heads said last of the image: logits of "semantic" and "unity", coarsest first."""
    heard: dict[str, list[paddle.Tensor]] = {}

    def listen(name: str) -> Any:
        def hear(layer: nn.Layer, inputs: tuple, outputs: Sequence[paddle.Tensor]) -> None:
            heard[name] = list(outputs)

        return getattr(model.head, name).register_forward_post_hook(hear)

    hooks = [listen(name) for name in ("semantic", "unity")]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _level_maps(
    model: SpecializeFuse, sample: dict, heard: dict[str, list[paddle.Tensor]], protocol: Protocol | None
) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
    """(1, 1, H, W) at the label's size: the assigned level, 0 the coarsest; and the classes that each level predicts,
    then the fused ones."""
    image, original = sample["img"], sample["img"].shape[2:]
    seen = resized(image, protocol.size_at(original, 1.0)) if protocol else image
    fused = model(seen)[0]
    semantic, probabilities = heard["semantic"], [paddle.nn.functional.sigmoid(x) for x in heard["unity"]]
    grid = semantic[-1].shape[2:]

    def at_label(maps: paddle.Tensor, mode: str = "bilinear") -> paddle.Tensor:
        aligned = model.align_corners and mode == "bilinear"
        maps = resized(resized(maps, seen.shape[2:], aligned, mode), original, aligned, mode)
        return restored(maps, sample["trans_info"], aligned, mode)

    numbers = [paddle.full_like(logits[:, :1], level) for level, logits in enumerate(semantic)]
    assigned = at_label(fuse(numbers, probabilities, model.strides, model.head.threshold), "nearest")
    maps = [resized(logits, grid, mode="nearest") for logits in semantic] + [fused]
    return assigned, [at_label(logits).argmax(axis=1, keepdim=True) for logits in maps]


@dataclass(frozen=True)
class LevelReport:
    """The counts of every group of pixels, as every level and the fused prediction see it. Levels are coarsest first.

    Attributes:
        counts: (L, L + 1, C + 2, C + 1) of `counts.pixel_counts`: by assigned level, then by predicting level or, last,
            the fused prediction.
        names: the C classes.
        strides: of the levels.
        ignore_index: the label value that is left out.
    """

    counts: np.ndarray
    names: tuple[str, ...]
    strides: tuple[int, ...]
    ignore_index: int

    def miou(self) -> np.ndarray:
        """(L, L): row ℓ' predicts the pixels that are assigned to column ℓ; NaN where no labelled pixel is."""
        rows = [[self._mean(group) for group in by] for by in self.counts[:, :-1].swapaxes(0, 1)]
        return np.array(rows)

    def alone(self) -> np.ndarray:
        """(L,): mIoU of each level's prediction of all pixels."""
        return np.array([self._mean(counts) for counts in self.counts[:, :-1].sum(axis=0)])

    def degradation(self) -> np.ndarray:
        """(L, C): a level's IoU less that of the fused prediction; NaN for a class that no label has."""
        *levels, fused = (self._iou(counts) for counts in self.counts.sum(axis=0))
        return np.array(levels) - fused

    def shares(self) -> np.ndarray:
        """(L,): of the labelled pixels, those assigned to each level."""
        labelled = self.counts[:, -1, : len(self.names)].sum(axis=(1, 2))
        return labelled / max(labelled.sum(), 1)

    def table(self) -> str:
        from prettytable import PrettyTable

        levels = [f"level {number} (1/{stride})" for number, stride in enumerate(self.strides, 1)]
        groups = PrettyTable(["mIoU, predicted by", *(f"assigned to {level}" for level in levels), "all"], align="r")
        for level, row, alone in zip(levels, self.miou(), self.alone()):
            groups.add_row([level, *map(_text, row), _text(alone)])
        groups.add_row(["pixels", *(f"{share:.2%}" for share in self.shares()), ""])
        classes = PrettyTable(["IoU less that of all fused", *levels], align="r")
        for name, row in zip(self.names, self.degradation().T):
            classes.add_row([name, *(f"{value:+.4f}" if np.isfinite(value) else "-" for value in row)])
        return f"{groups}\n{classes}"

    def to_json(self) -> dict[str, object]:
        """Everything above as JSON types, null where a measure is undefined."""
        degradation = {name: _numbers(row) for name, row in zip(self.names, self.degradation().T)}
        return {
            "levels": {
                "strides": list(self.strides),
                "miou_rows_predict_columns_assigned": [_numbers(row) for row in self.miou()],
                "miou_alone": _numbers(self.alone()),
                "pixel_shares": _numbers(self.shares()),
                "iou_less_fused": degradation,
            }
        }

    def _iou(self, counts: np.ndarray) -> np.ndarray:
        """(C,); NaN for a class that no label has."""
        hit, predicted, labelled = areas(counts, self.ignore_index)
        union = predicted + labelled - hit
        return np.where(labelled > 0, hit / np.maximum(union, 1), np.nan)

    def _mean(self, counts: np.ndarray) -> float:
        iou = self._iou(counts)
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")


def _text(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "-"


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
