"""Specialize and Fuse's pyramids cell by cell in plain numpy: slow, and as close to the paper's sentences as can be.

Levels are counted from the coarsest. Arrays: labels (N, H, W); a level of a pyramid (N, h, w), of logits (N, K, h, w).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

UNITY, MIX, UNKNOWN = 1, 0, -1
Levels = list[np.ndarray]


def cells(shape: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Image, row and column of every cell."""
    return np.ndindex(shape[0], *shape[-2:])


def truth(label: np.ndarray, strides: Sequence[int], ignore: int) -> tuple[Levels, Levels]:
    """Classes of every level, and unity of every level but the finest."""
    semantic, unity = [], []
    for stride in sorted(strides, reverse=True):
        # As many cells as the coarsest level's children come to, also where the image ends before.
        rows, columns = (ceil(n / max(strides)) * max(strides) // stride for n in label.shape[1:])
        classes = np.full((len(label), rows, columns), ignore)
        kinds = np.full((len(label), rows, columns), UNKNOWN)
        for n, y, x in cells(classes.shape):
            patch = label[n, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
            found = set(patch.flatten().tolist()) - {ignore}
            if len(found) == 1:
                classes[n, y, x] = found.pop()
                kinds[n, y, x] = UNITY
            elif found:
                kinds[n, y, x] = MIX
                centre = y * stride + stride // 2, x * stride + stride // 2
                if stride == min(strides) and centre[0] < label.shape[1] and centre[1] < label.shape[2]:
                    classes[n, y, x] = label[(n, *centre)]
        semantic.append(classes)
        unity.append(kinds)
    return semantic, unity[:-1]


def predecessors(shapes: Sequence[Sequence[int]], level: int, y: int, x: int) -> Iterator[tuple[int, int, int]]:
    """Level, row and column of the cells that cover a cell of `level`, coarsest first."""
    for coarser in range(level):
        factor = shapes[level][-1] // shapes[coarser][-1]
        yield coarser, y // factor, x // factor


def relabel(
    semantic: Levels, unity: Levels, probabilities: Levels, policy: str, threshold: float, ignore: int
) -> tuple[Levels, Levels]:
    """Table 7's three policies."""
    semantic, unity = [level.copy() for level in semantic], [level.copy() for level in unity]
    original = [level.copy() for level in unity]
    shapes = [level.shape for level in semantic]

    def claims(n: int, level: int, y: int, x: int) -> bool:
        if policy == "naive" or original[level][n, y, x] != UNITY:
            return False
        return policy == "simple_fix" or probabilities[level][n, y, x] >= np.float32(threshold)

    for level, classes in enumerate(semantic):
        for n, y, x in cells(classes.shape):
            if any(claims(n, *cell) for cell in predecessors(shapes, level, y, x)):
                classes[n, y, x] = ignore
                if level < len(unity):
                    unity[level][n, y, x] = UNKNOWN
    return semantic, unity


def fuse(semantic: Levels, probabilities: Levels, threshold: float) -> np.ndarray:
    """Equation 2: the logits of the coarsest predicted unity-cell, else of the finest level."""
    finest = semantic[-1]
    fused = np.empty_like(finest)
    shapes = [level.shape for level in semantic]
    for n, y, x in cells(finest.shape):
        fused[n, :, y, x] = finest[n, :, y, x]
        for coarser, row, column in predecessors(shapes, len(semantic) - 1, y, x):
            if probabilities[coarser][n, row, column] >= np.float32(threshold):
                fused[n, :, y, x] = semantic[coarser][n, :, row, column]
                break
    return fused


def losses(
    semantic_logits: Levels, unity_logits: Levels, semantic: Levels, unity: Levels, ignore: int
) -> tuple[list[float], list[float]]:
    """Equation 1's terms in double precision: cross entropy and binary cross entropy, means over the known cells."""
    entropies = []
    for logits, classes in zip(semantic_logits, semantic):
        terms = []
        for n, y, x in cells(classes.shape):
            if classes[n, y, x] != ignore:
                values = logits[n, :, y, x].astype("float64")
                terms.append(np.log(np.exp(values).sum()) - values[classes[n, y, x]])
        entropies.append(sum(terms) / max(len(terms), 1) / len(semantic))
    binary = []
    for logits, kinds in zip(unity_logits, unity):
        terms = []
        for n, y, x in cells(kinds.shape):
            if kinds[n, y, x] != UNKNOWN:
                probability = 1 / (1 + np.exp(-logits[n, y, x].astype("float64")))
                terms.append(-np.log(probability if kinds[n, y, x] == UNITY else 1 - probability))
        binary.append(sum(terms) / max(len(terms), 1) / len(unity))
    return entropies, binary
