"""The configs of this package as a table: what each takes from which paper, and how it trains and tests.

Everything is read from the config, its bases merged in; source and score from the brackets of its first comment, which
are written `(paper, section, table: score)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from paddle_hrfamily.integration import config_sources
from paddle_hrfamily.integration.config_sources import packaged_configs

Section = Mapping[str, Any]
_HEADING = """# Recipes

One line a config. `hrfamily configs --recipes > configs/RECIPES.md` writes this page; do not edit it by hand. The
comment of each config, and of the bases it names, says which parts the paper leaves open and where they come from.

Crops are width × height. The batch is what one device takes; the papers' recipes assume four GPUs, where a comment does
not say otherwise. BN is the momentum of batch norms, the share that running statistics keep in a step (PyTorch's
momentum is 1 minus this). `×` after a loss is the weight of that output's loss, main output first.
"""


@dataclass(frozen=True)
class Recipe:
    """One config.

    Attributes:
        name: the file's, without .yml.
        title: what it is, from the first comment.
        source: paper, section and table; empty where it follows none.
        score: what was published.
        config: the whole config.
    """

    name: str
    title: str
    source: str
    score: str
    config: Section

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Of a YAML file."""
        comment = _first_comment(file)
        brackets = re.search(r" \(([^()]*): ([^()]*?)\)", comment) or re.search(r" \(([^()]*)()\)", comment)
        title = comment[: brackets.start()] if brackets else comment
        source, score = brackets.groups() if brackets else ("", "")
        return cls(file.stem, title.split(". ")[0].rstrip("."), source, score, config_sources.read(file))

    def row(self) -> dict[str, str]:
        """The columns of the table."""
        return {"config": f"`{self.name}`", "source": self.source, "published": self.score} | {
            name: describe(self.config) for name, describe in COLUMNS.items()
        }


def recipes(pattern: str = "*") -> list[Recipe]:
    """Those of this package's configs whose name matches a shell pattern."""
    files = sorted(packaged_configs().values(), key=lambda file: file.stem)
    return [Recipe.read(file) for file in files if fnmatch(file.stem, pattern)]


def page() -> str:
    """configs/RECIPES.md, as Markdown."""
    rows = [recipe.row() for recipe in recipes()]
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *(list(row.values()) for row in rows)]
    return f"{_HEADING}\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _first_comment(file: Path) -> str:
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


# The columns: each a part of the config in words.


def _loss(config: Section) -> str:
    section = config["loss"]
    coefficients = section["coef"]
    types = section["types"] * (len(coefficients) if len(section["types"]) == 1 else 1)
    return " + ".join(
        _one_loss(loss) + (f" × {coefficient:g}" if len(coefficients) > 1 else "")
        for loss, coefficient in zip(types, coefficients)
    )


_LOSSES = {
    "CrossEntropyLoss": "cross entropy",
    "WeightedPixelCrossEntropyLoss": "cross entropy over all pixels",
    "BatchDiceLoss": "Dice over the batch",
}


def _one_loss(loss: Section) -> str:
    kind = loss["type"]
    if kind == "MixedLoss":
        parts = zip(loss["coef"], loss["losses"])
        return " + ".join(f"{coefficient:g} {_one_loss(part)}" for coefficient, part in parts)
    weighted = ", class weights" if loss.get("weight") else ""
    if "Ohem" in kind:
        return f"OHEM (p < {loss['thresh']}, at least {loss['min_kept']}{weighted})"
    if kind == "DepthLoss":
        return f"{loss['kind']} of depth up to {loss['max_depth']} m"
    return str(_LOSSES.get(kind, kind)) + (f" ({weighted[2:]})" if weighted else "")


def _crop(config: Section) -> str:
    for item in config["train_dataset"]["transforms"][::-1]:
        size = item.get("crop_size") or item.get("target_size")
        if size:
            padding = item.get("im_padding_value", 127.5) if "crop_size" in item else None
            return "×".join(map(str, size)) + ("" if padding is None else f", padded with {padding}")
    return "whole images"


def _schedule(config: Section) -> str:
    optimizer, rate = config["optimizer"], config["lr_scheduler"]
    groups = "".join(f", {group['name']} × {group['lr_mult']}" for group in optimizer.get("custom_cfg", ()))
    policy = f"poly {rate['power']}" if rate["type"] == "PolynomialDecay" else rate["type"]
    return (
        f"{optimizer['type']} {rate['learning_rate']:g}{groups}, decay {optimizer.get('weight_decay', 0):g}, {policy}"
    )


def _scale(item: Section) -> str:
    kind = item["type"]
    if kind == "RandomScaleLongSide":
        low, high, step, base = item["min_scale"], item["max_scale"], item["step"], f" of a long side of {item['size']}"
    else:
        low, high = item["min_scale_factor"], item["max_scale_factor"]
        step, base = item["scale_step_size"], ""
    return f"scale {low:g}–{high:g} {f'by {step:g}' if step else 'evenly'}{base}"


_STEPS: dict[str, Callable[[Section], str]] = {
    "RandomScaleLongSide": _scale,
    "ResizeStepScaling": _scale,
    "RandomHorizontalFlip": lambda item: "flip",
    "RandomVerticalFlip": lambda item: "flip upside down",
    "RandomMirror": lambda item: "flip with left and right swapped",
    "RandomBrightness": lambda item: f"brightness ± {item['shift']}",
    "RandomDistort": lambda item: (
        "distortion "
        + "/".join(f"{item.get(f'{part}_range', 0.5):g}" for part in ("brightness", "contrast", "saturation"))
    ),
    "RandomSliceRotation": lambda item: f"right angles and mirrors, or rotation up to {item['max_angle']}°",
    "RandomDepthZoom": lambda item: "zoom " + "/".join(f"{scale:g}" for scale in item["scales"]),
}


def _augmentation(config: Section) -> str:
    items = config["train_dataset"]["transforms"]
    return ", ".join(_STEPS[item["type"]](item) for item in items if item["type"] in _STEPS)


def _pretrained(config: Section) -> str:
    model = config["model"]
    name = model.get("pretrained") or model.get("backbone", {}).get("pretrained")
    return str(name) if name else "random"


def _protocols(config: Section) -> str:
    entries: Mapping[str, Section] = config.get("protocols", {})
    return "; ".join(f"{name}: {_protocol(entry)}" for name, entry in entries.items())


def _protocol(entry: Section) -> str:
    scales: Sequence[float] | float = entry.get("scales", 1)
    words = [" ".join(f"{scale:g}" for scale in scales) if isinstance(scales, Sequence) else f"{scales:g}"]
    words += ["flip"] if entry.get("flip_horizontal") else []
    if entry.get("is_slide"):
        words.append("windows {}×{} by {}×{}".format(*entry["crop_size"], *entry["stride"]))
    return ", ".join(words)


COLUMNS: dict[str, Callable[[Section], str]] = {
    "loss": _loss,
    "crop": _crop,
    "batch": lambda config: str(config["batch_size"]),
    "iterations": lambda config: str(config["iters"]),
    "optimizer, schedule": _schedule,
    "augmentation": _augmentation,
    "begins from": _pretrained,
    "align corners": lambda config: "yes" if config["model"].get("align_corners") else "no",
    "BN": lambda config: f"{config['model'].get('batch_norm_momentum', 0.9):g}",
    "tested at": _protocols,
}
