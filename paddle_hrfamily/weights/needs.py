"""What published weights need of a network beyond shapes: how its resizes treat corners, how many classes it tells.

Weights that are right in every shape may still be wrong in a network that resizes otherwise; nothing but what is known
of the file tells.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Published
from paddle_hrfamily.weights.files import Contents

_LOG = logging.getLogger(__name__)
_ABN_EPSILON = 1e-5  # what In-Place ABN adds to |weight|


def rescaled(contents: Contents, published: Published | None) -> Contents:
    """The same with scales as an ordinary batch norm takes them: In-Place ABN's are |weight| + 1e-5."""
    if published is None or not published.in_place_abn:
        return contents
    norms = {key.removesuffix("running_mean") for key in contents.arrays if key.endswith("running_mean")}
    scales = {f"{norm}weight" for norm in norms}
    arrays = {key: _scale(array) if key in scales else array for key, array in contents.arrays.items()}
    return replace(contents, arrays=arrays)


def _scale(weight: np.ndarray) -> np.ndarray:
    return (np.abs(weight) + _ABN_EPSILON).astype(weight.dtype)


def check_classes(published: Published | None, model: object, label: str) -> None:
    """Raises UserError if a network that is to be filled whole tells another number of classes apart."""
    data = published.data if published is not None else None
    ours = getattr(model, "num_classes", None)
    if published is None or data is None or ours in (None, data.num_classes):
        return
    if published.align_corners is None:  # a backbone's weights, of which no head is expected
        return
    raise UserError(
        f"{label}: model.num_classes is {ours}, and these weights tell {data.num_classes} classes apart "
        f"({data.title}): write `num_classes: {data.num_classes}`, or begin a training from them by `pretrained` in "
        "the model's section"
    )


def check_corners(needed: bool | None, corners: Mapping[str, bool], label: str, *, whole: bool) -> None:
    """See that the network's resizes treat corners as those of the weights.

    Args:
        needed: align_corners of the weights, if it is known.
        corners: align_corners of the network's parts, by their keys in a config.
        label: the weights' name for messages.
        whole: the head is filled too, so that the network is to compute what was published. If it begins anew, the
            network is about to be trained, and a warning will do.

    Raises:
        UserError: they do not.
    """
    if needed is None:
        return
    wrong = [key for key, value in corners.items() if value != needed]
    if not wrong:
        return
    message = (
        f"{label}: these weights were trained with align_corners {needed}, and {' and '.join(wrong)} "
        f"{'is' if len(wrong) == 1 else 'are'} {not needed}"
    )
    if whole:
        written = str(needed).lower()
        raise UserError(
            f"{message}: write `align_corners: {written}` in the model's section and in its backbone's, or "
            f"create_model(..., align_corners={needed})"
        )
    _LOG.warning("%s; the backbone alone is taken from them, and training has to make up for it", message)
