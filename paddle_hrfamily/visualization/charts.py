"""Charts as SVG text: a confusion matrix, and what probabilities are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

_CELL, _SMALL_CELL = 34, 12  # pixels of a side, of few classes and of many
_FEW = 25
_LETTER = 6.6  # pixels of width, at most, in text of 12 pixels
_LINES = ("#8894a5", "#2156d4")


def confusion(counts: np.ndarray, names: Sequence[str]) -> str:
    """Counts (C, C), rows being labels, each cell as dark as its share of its row. Titles tell the numbers."""
    side = _CELL if len(names) <= _FEW else _SMALL_CELL
    margin = round(max(map(len, names)) * _LETTER) + 12
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = []
    for row, name in enumerate(names):
        middle = margin + row * side + side / 2
        parts.append(_text(margin - 6, middle, name, "end"))
        parts.append(_text(middle, margin - 6, name, "start", f' transform="rotate(-90 {middle} {margin - 6})"'))
        for column in np.flatnonzero(counts[row]).tolist():
            parts.append(_cell(row, column, float(shares[row, column]), int(counts[row, column]), names, side, margin))
    whole = len(names) * side
    frame = f'<rect x="{margin}" y="{margin}" width="{whole}" height="{whole}" fill="none" stroke="currentColor"/>'
    size = margin + whole + 8
    return _svg(size, size, "Confusion matrix: rows are labels, columns predictions", "".join([*parts, frame]))


def reliability(lines: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy over probability, for each name a mapping with `pixels`, `probability` and `accuracy` by bins."""
    side, margin = 320, 56

    def at(x: float, y: float) -> str:
        return f"{margin + side * x:.1f},{8 + side * (1 - y):.1f}"

    parts = [
        f'<rect x="{margin}" y="8" width="{side}" height="{side}" fill="none" stroke="currentColor" opacity=".4"/>',
        f'<polyline points="{at(0, 0)} {at(1, 1)}" stroke="currentColor" stroke-dasharray="4 4" opacity=".6"/>',
        _text(margin + side / 2, side + 36, "maximum probability", "middle"),
        _text(14, 8 + side / 2, "accuracy", "middle", f' transform="rotate(-90 14 {8 + side / 2})"'),
    ]
    for tick in (0, 0.5, 1):
        parts.append(_text(margin + side * tick, side + 20, f"{tick:g}", "middle"))
        parts.append(_text(margin - 6, 8 + side * (1 - tick), f"{tick:g}", "end"))
    for index, (name, bins) in enumerate(lines.items()):
        color = _LINES[index % len(_LINES)]
        filled = [i for i, pixels in enumerate(bins["pixels"]) if pixels]
        points = [at(bins["probability"][i], bins["accuracy"][i]) for i in filled]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="4" fill="{color}">'
            f"<title>{bins['pixels'][i]} pixels: accuracy {bins['accuracy'][i]:.4f}</title></circle>"
            for i, point in zip(filled, points)
        ]
        parts.append(f'<rect x="{margin + 10}" y="{20 + 20 * index}" width="12" height="12" fill="{color}"/>')
        parts.append(_text(margin + 28, 26 + 20 * index, name, "start"))
    return _svg(margin + side + 12, side + 50, "Accuracy by maximum probability", "".join(parts))


def _cell(row: int, column: int, share: float, count: int, names: Sequence[str], side: int, margin: int) -> str:
    hue = 215 if row == column else 5  # what is right is blue, errors are red
    x, y = margin + column * side, margin + row * side
    title = f"{escape(names[row])} as {escape(names[column])}: {count} pixels, {share:.2%}"
    square = (
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="hsl({hue} 75% 48%)" '
        f'fill-opacity="{max(share, 0.02) ** 0.5:.3f}"><title>{title}</title></rect>'
    )
    if side < _CELL or share < 0.005:
        return square
    return square + _text(x + side / 2, y + side / 2, f"{100 * share:.0f}", "middle", ' pointer-events="none"')


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" dominant-baseline="central"{more}>{escape(text)}</text>'


def _svg(width: float, height: float, title: str, content: str) -> str:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    font = 'font-family="sans-serif" font-size="12"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img" aria-label="{escape(title)}">{content}</svg>'
    )
