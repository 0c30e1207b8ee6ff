"""Unequal classes: how many pixels each has, weights for losses, and images of rare classes drawn more often.

sampler: class_balanced
loss:
  types:
    - {type: CrossEntropyLoss, weight: auto}                               # median frequency
    - {type: CrossEntropyLoss, weight: {method: effective, beta: 0.9999}}  # effective number of samples
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddle_hrfamily.data.label_checks import pixels_of_labels
from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.files import replacing

METHODS = ("auto", "median_frequency", "effective")
SAMPLERS = ("class_balanced",)
_CACHE = "class_pixels.npz"
_ROWS = 20  # of the table of classes


def pixels_by_image(dataset: paddle.io.Dataset, folder: Path | None = None) -> np.ndarray:
    """(images, classes) int64: the labelled pixels of each class in every image of the data set's list.

    They are kept in `folder`, and counted again when a label, or how it is read, has changed.

    Raises:
        UserError: the labels are no images of classes.
    """
    labels = [pair[1] for pair in getattr(dataset, "file_list", [[None, None]])]
    distinct = list(dict.fromkeys(labels))
    cache = None if folder is None else folder / _CACHE
    key = _fingerprint(dataset, distinct)
    pixels = _kept(cache, key)
    if pixels is None:
        pixels = pixels_of_labels(dataset, distinct)
        if cache is not None and paddle.distributed.ParallelEnv().local_rank == 0:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with replacing(cache) as draft, draft.open("wb") as file:
                np.savez_compressed(file, key=key, pixels=pixels)
    if 0 <= dataset.ignore_index < dataset.num_classes:
        pixels[:, dataset.ignore_index] = 0
    row = {label: index for index, label in enumerate(distinct)}
    return pixels[[row[label] for label in labels], : dataset.num_classes]


def median_frequency(pixels: np.ndarray) -> np.ndarray:
    """(classes,) the median class frequency over each class's own (Eigen & Fergus, arXiv 1411.4734, section 4.3).

    A class's frequency is its share of the labelled pixels in those images that show it. 1 for a class that none shows.

    Args:
        pixels: (images, classes) of `pixels_by_image`.
    """
    shown = pixels > 0
    around = (shown * pixels.sum(axis=1, keepdims=True)).sum(axis=0)  # labelled pixels of images that show the class
    frequency = np.divide(pixels.sum(axis=0), around, out=np.zeros(pixels.shape[1]), where=around > 0)
    present = frequency > 0
    weights = np.ones(pixels.shape[1])
    if present.any():
        weights[present] = np.median(frequency[present]) / frequency[present]
    return weights


def effective_number(pixels: np.ndarray, beta: float | None = None) -> tuple[np.ndarray, float]:
    """(classes,) weights (1 - β) / (1 - β^n), n a class's pixels, scaled to a mean of 1 (Cui et al., CVPR 2019,
    arXiv 1901.05555, equation 4), and β. 1 for a class that no image shows.

    Args:
        pixels: (images, classes) of `pixels_by_image`.
        beta: from 0 (all equal) to below 1 (inverse frequency); by default (N - 1) / N of the paper's section 3.2 with
            N the mean number of pixels of a class.
    """
    total = pixels.sum(axis=0).astype("float64")
    present = total > 0
    volume = max(1.0, total[present].mean()) if present.any() else 1.0
    beta = (volume - 1) / volume if beta is None else beta
    weights = np.ones(len(total))
    if beta > 0:
        weights[present] = -(1 - beta) / np.expm1(total[present] * np.log(beta))
    weights[present] *= present.sum() / weights[present].sum()
    return weights, beta


def draw_shares(pixels: np.ndarray) -> np.ndarray:
    """(images,) each image's share of the draws: a class is drawn, all alike, then one of the images that show it.

    Images that show none are not drawn. This is class uniform sampling of whole images (arXiv 1812.01593, section 3.3).

    Raises:
        UserError: no image shows a class.
    """
    shown = (pixels > 0).astype("float64")
    of_class = shown.sum(axis=0)
    if not of_class.any():
        raise UserError("sampler: class_balanced needs labels, and no training image has any")
    shares = (shown[:, of_class > 0] / of_class[of_class > 0]).sum(axis=1)
    return shares / shares.sum()


def resolve_weights(config: dict[str, Any], count: Callable[[], np.ndarray]) -> list[str]:
    """Put numbers in the place of every `weight: auto`, `effective` … of the config's losses.

    Args:
        config: a `Config.dic`, which is changed.
        count: gives `pixels_by_image` of the training data; called if any loss asks.

    Returns:
        What was decided, one line a rule.

    Raises:
        UserError: a rule that does not exist.
    """
    decided: dict[str, str] = {}
    for section in _weighted(config.get("loss", {})):
        method, beta = _rule(section["weight"])
        pixels = count()
        if method == "effective":
            weights, beta = effective_number(pixels, beta)
            name = f"effective number of samples, beta {beta:.10g}"
        else:
            weights, name = median_frequency(pixels), "median frequency"
        section["weight"] = [float(f"{weight:.4g}") for weight in weights]
        decided[name] = f"Class weights by {name}: {', '.join(f'{weight:.4g}' for weight in weights)}"
    return list(decided.values())


def check_sampler(config: Mapping[str, Any]) -> str | None:
    """The config's `sampler`, or None. Raises UserError if there is none of that name."""
    name = config.get("sampler")
    if name is not None and name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return name


def table(names: Sequence[str], columns: Mapping[str, np.ndarray]) -> str:
    """The share of the labelled pixels that each class has, by data set, as text; of many classes the ends alone.

    Args:
        columns: title -> (256,) pixels by label value.
    """
    from prettytable import PrettyTable

    shares = {}
    for title, pixels in columns.items():
        known = pixels[: len(names)]
        shares[title] = known / max(1, known.sum())
    shown = PrettyTable(["class", *shares], align="r")
    shown.align["class"] = "l"
    first = next(iter(shares.values()))
    rows = list(range(len(names)))
    if len(rows) > _ROWS:
        rows = np.argsort(-first, kind="stable")[[*range(_ROWS // 4), *range(-_ROWS * 3 // 4, 0)]].tolist()
    for index in rows:
        shown.add_row([names[index], *(f"{share[index]:.2%}" for share in shares.values())])
    left = len(names) - len(rows)
    return str(shown) + (f"\n{left} classes in between" if left else "")


def _weighted(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("weight"), (str, dict)):
            yield node
        for value in node.values():
            yield from _weighted(value)
    elif isinstance(node, list):
        for value in node:
            yield from _weighted(value)


def _rule(weight: str | dict[str, Any]) -> tuple[str, float | None]:
    given: dict[str, Any] = {"method": weight} if isinstance(weight, str) else weight
    method, beta = given.get("method"), given.get("beta")
    if method not in METHODS:
        raise unknown("rule for class weights", method, METHODS)
    wrong = set(given) - {"method", "beta"}
    if wrong or (beta is not None and (method != "effective" or not 0 <= beta < 1)):
        raise UserError(f"loss weight {given}: beta goes with effective, from 0 to below 1; there are no other keys")
    return method, beta


def _fingerprint(dataset: paddle.io.Dataset, labels: Sequence[str | None]) -> str:
    stats = [(label, *_size_and_time(label)) for label in labels]
    rule = [type(dataset).__name__, sorted(getattr(dataset, "relabel", {}).items())]
    return hashlib.sha256(json.dumps([rule, stats]).encode()).hexdigest()


def _size_and_time(label: str | None) -> tuple[int, int]:
    if label is None:
        return 0, 0
    found = os.stat(label)
    return found.st_size, found.st_mtime_ns


def _kept(cache: Path | None, key: str) -> np.ndarray | None:
    if cache is None or not cache.is_file():
        return None
    try:
        with np.load(cache) as content:
            return content["pixels"] if str(content["key"]) == key else None
    except (OSError, ValueError, KeyError):
        return None
