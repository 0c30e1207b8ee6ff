"""Names and shapes of released checkpoints' tensors, as their own constructors make them, in tests/files/released.

A line is the name of a tensor and its shape; `bn` stands for the tensors of PyTorch's batch norm, `paddle_bn` for those
of Paddle's, and `{0..3}` or `{0,2}` for one line each. K is the number of classes. The first line is the constructor.

    python tests/released.py SHAPES.json    # {file: [constructor, {tensor: shape}]}; rewrites the files

makes the files of what any of these frameworks says of its network: `{key: list(value.shape) for key, value in
network.state_dict().items()}`.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "files" / "released"
CLASSES = 19  # of the networks that the files were made of
_NORMS = {
    "bn": ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
    "paddle_bn": ("weight", "bias", "_mean", "_variance"),
}
Shapes = dict[str, tuple[int, ...]]


def shapes(name: str, num_classes: int = CLASSES) -> Shapes:
    """Every tensor of the file's network for that many classes."""
    found: Shapes = {}
    for line in (FILES / f"{name}.txt").read_text().splitlines()[1:]:
        pattern, *dimensions = line.split()
        for path in _expanded(pattern):
            if dimensions[:1] and dimensions[0] in _NORMS:
                for leaf in _NORMS[dimensions[0]]:
                    found[f"{path}.{leaf}"] = () if leaf == "num_batches_tracked" else (int(dimensions[1]),)
            else:
                found[path] = tuple(num_classes if size == "K" else int(size) for size in dimensions)
    return found


def checkpoint(name: str, num_classes: int = CLASSES, *, counters: bool = True) -> dict[str, np.ndarray]:
    """The network's tensors, each filled with a number of its own, in next to no memory.

    Without `counters` batch norms have not counted their steps, as in checkpoints of PyTorch 0.4.1.
    """
    numbers = itertools.count(1)
    found = shapes(name, num_classes)
    kept = {key: shape for key, shape in found.items() if counters or not key.endswith("num_batches_tracked")}
    return {key: np.broadcast_to(np.float32(next(numbers)), shape) for key, shape in kept.items()}


def _expanded(pattern: str) -> Iterable[str]:
    parts = re.split(r"\{([\d.,]+)\}", pattern)
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def _choices(text: str) -> list[str]:
    first, dots, last = text.partition("..")
    return [str(number) for number in range(int(first), int(last) + 1)] if dots else text.split(",")


# Writing


def write(name: str, constructor: str, tensors: Mapping[str, Iterable[int]]) -> None:
    """A file of these tensors, whose reading gives them again."""
    FILES.mkdir(exist_ok=True)
    lines = _folded(_by_module({key: tuple(shape) for key, shape in tensors.items()}))
    text = "\n".join([constructor, *(f"{path} {kind}".rstrip() for path, kind in lines)])
    (FILES / f"{name}.txt").write_text(text + "\n")
    assert shapes(name) == {key: tuple(shape) for key, shape in tensors.items()}


def _by_module(tensors: Mapping[str, tuple[int, ...]]) -> list[tuple[str, str]]:
    lines: dict[str, str] = {}
    for key, shape in tensors.items():
        module = key.rpartition(".")[0]
        norm = next((n for n, leaves in _NORMS.items() if all(f"{module}.{leaf}" in tensors for leaf in leaves)), None)
        if norm:
            lines[module] = f"{norm} {tensors[f'{module}.weight'][0]}"
        else:
            lines[key] = " ".join("K" if size == CLASSES else str(size) for size in shape)
    return list(lines.items())


def _folded(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lines that differ in one number made one, number after number."""
    for place in range(max(len(re.findall(r"\d+", path)) for path, _ in lines)):
        groups: dict[tuple[str, str, str], list[int]] = {}
        for path, kind in lines:
            parts = re.split(r"(\{[\d.,]+\}|\d+)", path)
            at = 2 * place + 1
            if at < len(parts) and parts[at].isdigit():
                key = "".join(parts[:at]), "".join(parts[at + 1 :]), kind
                groups.setdefault(key, []).append(int(parts[at]))
            else:
                groups.setdefault((path, "", kind), [])
        lines = [(f"{head}{_set(numbers)}{tail}", kind) for (head, tail, kind), numbers in groups.items()]
    return lines


def _set(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    return f"{{{','.join(map(str, numbers))}}}"


if __name__ == "__main__":
    for file, (constructor, tensors) in json.loads(Path(sys.argv[1]).read_text()).items():
        write(file, constructor, tensors)
