"""What README says of weights without a name, made of the registry, so that it is never remembered wrongly."""

from __future__ import annotations

import textwrap

from paddle_hrfamily.registry import BACKBONES
from paddle_hrfamily.weights.published import catalogue
from paddle_hrfamily.weights.publishers.elsewhere import ELSEWHERE

BEGIN, END = "<!-- hrfamily weights --markdown -->", "<!-- to here -->"  # around it in README


def missing() -> str:
    """How many names there are, which variants have no ImageNet weights, and where else weights are; Markdown."""
    entries = catalogue()
    whole = sum(entry.whole for entry in entries)
    text = (
        f"{len(entries)} files have names: {whole} of whole networks, {len(entries) - whole} of backbones. There is no "
        f"`imagenet` for {_listed(without_imagenet())}. What has no address of its own is got by hand and named by its "
        "path:"
    )
    rows = [("weights of", "trained on", "where"), ("---",) * 3, *ELSEWHERE]
    return "\n".join([*textwrap.wrap(text, 120), "", *(f"| {' | '.join(row)} |" for row in rows)])


def without_imagenet() -> list[str]:
    """Variants in the zoo that no ImageNet weights are registered for."""
    without = [
        f"{backbone.zoo}_{variant.lower()}"
        for backbone in BACKBONES.values()
        if backbone.zoo
        for variant in backbone.variants
        if "imagenet" not in backbone.weights.get(variant, {})
    ]
    return list(dict.fromkeys(without))  # DDRNet has two forms


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
