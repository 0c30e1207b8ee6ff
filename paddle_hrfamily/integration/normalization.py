"""Whether images reach a network as its published weights expect them: another mean costs points without a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Published

EXPECTED = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
_DEFAULT = (0.5,)  # of PaddleSeg's Normalize, both
_CLOSE = 0.01  # 123.675 / 255 and 0.485 are the same


def check(config: Mapping[str, Any], published: Published | None, label: str) -> None:
    """See that the validation images are normalised as the weights' training images were.

    Args:
        config: a `Config.dic`.
        published: what is known of the weights.
        label: their name for messages.

    Raises:
        UserError: they are not.
    """
    if published is None or published.pixels is None:
        return
    steps = (config.get("val_dataset") or {}).get("transforms") or []
    found = next((step for step in steps if isinstance(step, dict) and step.get("type") == "Normalize"), None)
    if found is None:
        return
    mean, std = EXPECTED[published.pixels]
    given = _three(found.get("mean", _DEFAULT)), _three(found.get("std", _DEFAULT))
    if not (_same(given[0], mean) and _same(given[1], std)):
        raise UserError(
            f"{label}: these weights expect images normalised with mean {list(mean)} and std {list(std)}, and "
            f"val_dataset's Normalize has {list(given[0])} and {list(given[1])}: write theirs there, and in "
            "train_dataset if you go on training"
        )


def _three(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(values) * 3 if len(values) == 1 else tuple(values)


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < _CLOSE for a, b in zip(one, other))
