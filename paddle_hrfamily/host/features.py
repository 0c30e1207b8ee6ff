"""Whether a model can take the features that its backbone gives; if not, which key of the config mends it.

PaddleSeg's heads index `feat_channels` by `backbone_indices` unchecked, and meet what does not fit at the first batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from paddle_hrfamily.errors import UserError

# How many features PaddleSeg's heads take: at least, at most.
_NUMBERS = {
    "ANN": (2, 2),
    "CCNet": (2, 2),
    "DeepLabV3": (1, 1),
    "DeepLabV3P": (2, 2),
    "DNLNet": (2, 2),
    "FCN": (1, 1),
    "OCRNet": (1, 2),
    "PSPNet": (2, 2),
    "UPerNet": (1, 99),
}


def check(model: Callable, arguments: dict[str, Any]) -> None:
    """Look at the arguments that a component is about to be built with; most are no model with a backbone.

    Raises:
        UserError: the backbone tells nothing of its features, or `backbone_indices` do not fit them.
    """
    backbone = arguments.get("backbone")
    parameters = inspect.signature(model).parameters
    if backbone is None or "backbone" not in parameters:
        return
    name, channels = type(backbone).__name__, getattr(backbone, "feat_channels", None)
    if channels is None:
        if model.__module__.startswith("paddle_hrfamily."):
            raise UserError(
                f"model.backbone.type {name}: without feat_channels, {model.__name__} cannot know its features"
            )
        return
    if "backbone_indices" in parameters:
        indices = arguments.get("backbone_indices", parameters["backbone_indices"].default)
        _check_indices(f"model.backbone_indices {indices}", indices, channels, f"{name} gives", backbone)
        _check_head(f"model.backbone_indices {indices}", indices, model.__name__, arguments, backbone)


def _check_indices(where: str, indices: Any, channels: Sequence[int], gives: str, backbone: Any) -> None:
    if not isinstance(indices, (list, tuple)) or not all(isinstance(index, int) for index in indices):
        raise UserError(f"{where}: write a list of whole numbers, such as [0, {len(channels) - 1}]")
    if any(not -len(channels) <= index < len(channels) for index in indices):
        count = f"{len(channels)} feature{'s' * (len(channels) > 1)}"
        mend = "; leave concat out of the backbone for one per stride" if getattr(backbone, "concat", False) else ""
        raise UserError(f"{where}: {gives} {count}, so the indices end at {len(channels) - 1}{mend}")


def _check_head(where: str, indices: Sequence[int], head: str, arguments: dict[str, Any], backbone: Any) -> None:
    least, most = _NUMBERS.get(head, (0, 99))
    if head == "UPerNet" and arguments.get("enable_auxiliary_loss"):
        least = 3  # its auxiliary output takes the third
    if not least <= len(indices) <= most:
        wanted = f"{least}" if least == most else f"{least} or {most}" if most < 99 else f"{least} or more"
        raise UserError(f"{where}: {head} takes {wanted}, and an index may be there twice")
    strides = getattr(backbone, "feat_strides", None)
    if head == "OCRNet" and strides and len({strides[index] for index in indices}) > 1:
        raise UserError(
            f"{where}: OCRNet weighs the pixels of one feature by the regions of the other, so both must have one "
            f"stride, and these have {' and '.join(str(strides[index]) for index in indices)}; with concat: true in "
            f"the backbone [0] is all of them in one, as the OCR paper has it"
        )
