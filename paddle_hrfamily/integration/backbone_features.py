"""Whether a model can take the features that its backbone gives; if not, which key of the config to change.

PaddleSeg's heads index `feat_channels` by `backbone_indices` unchecked: what does not fit fails at the first batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

from paddle_hrfamily.contract import BackboneTraits, traits
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


def check(model: Callable[..., object], arguments: Mapping[str, object]) -> None:
    """Look at the arguments that a component is about to be built with; most are no model with a backbone.

    Raises:
        UserError: the backbone tells nothing of its features, or `backbone_indices` do not fit them.
    """
    backbone = arguments.get("backbone")
    parameters = inspect.signature(model).parameters
    if backbone is None or "backbone" not in parameters:
        return
    known = traits(backbone)
    if not known.feat_channels:
        if model.__module__.startswith("paddle_hrfamily."):
            raise UserError(
                f"model.backbone.type {known.name}: without feat_channels, {model.__name__} cannot know its features"
            )
        return
    if "backbone_indices" in parameters:
        given = arguments.get("backbone_indices", parameters["backbone_indices"].default)
        where = f"model.backbone_indices {given}"
        indices = _checked_indices(where, given, known)
        _check_head(where, indices, model.__name__, arguments, known)


def _checked_indices(where: str, indices: object, backbone: BackboneTraits) -> list[int]:
    count = len(backbone.feat_channels)
    if not isinstance(indices, (list, tuple)) or not all(isinstance(index, int) for index in indices):
        raise UserError(f"{where}: write a list of whole numbers, such as [0, {count - 1}]")
    if any(not -count <= index < count for index in indices):
        features = f"{count} feature{'s' * (count > 1)}"
        mend = "; leave concat out of the backbone for one per stride" if backbone.concat else ""
        raise UserError(f"{where}: {backbone.name} gives {features}, so the indices end at {count - 1}{mend}")
    return list(indices)


def _check_head(
    where: str, indices: Sequence[int], head: str, arguments: Mapping[str, object], backbone: BackboneTraits
) -> None:
    least, most = _NUMBERS.get(head, (0, 99))
    if head == "UPerNet" and arguments.get("enable_auxiliary_loss"):
        least = 3  # its auxiliary output takes the third
    if not least <= len(indices) <= most:
        wanted = f"{least}" if least == most else f"{least} or {most}" if most < 99 else f"{least} or more"
        raise UserError(f"{where}: {head} takes {wanted}, and an index may be there twice")
    strides = backbone.feat_strides
    if head == "OCRNet" and strides and len({strides[index] for index in indices}) > 1:
        raise UserError(
            f"{where}: OCRNet weighs the pixels of one feature by the regions of the other, so both must have one "
            f"stride, and these have {' and '.join(str(strides[index]) for index in indices)}; with concat: true in "
            f"the backbone [0] is all of them in one, as the OCR paper has it"
        )
