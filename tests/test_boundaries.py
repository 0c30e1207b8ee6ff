"""Boundary IoU against its definition, written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_hrfamily.evaluation.boundaries import BoundaryMeasure, boundary, strip_width

NAMES = ("a", "b", "c", "never")
IGNORE = 255


def strip(mask: np.ndarray, distance: int) -> set[tuple[int, int]]:
    """The mask's pixels with one outside of it, or of the image, at most `distance` rows and columns away."""
    height, width = mask.shape
    steps = range(-distance, distance + 1)
    return {
        (y, x)
        for y, x in np.argwhere(mask).tolist()
        if any(
            not (0 <= y + dy < height and 0 <= x + dx < width) or not mask[y + dy, x + dx]
            for dy in steps
            for dx in steps
        )
    }


def maps(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.kron(rng.integers(0, 3, (4, 5)), np.ones((8, 10), int))[: size[0], : size[1]]
    predicted = np.roll(label, rng.integers(-3, 4, 2), (0, 1))
    label[5:9, 3:11] = IGNORE
    return predicted, label


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_the_strip_is_what_lies_near_the_outside(distance: int) -> None:
    mask = maps(0, (30, 41))[0] == 1
    assert {tuple(at) for at in np.argwhere(boundary(mask, distance)).tolist()} == strip(mask, distance)


def test_iou_is_of_the_strips_of_all_images() -> None:
    measure = BoundaryMeasure(NAMES, IGNORE)
    areas = np.zeros((len(NAMES), 2))
    for seed, size in enumerate(((32, 50), (29, 37), (32, 44))):
        predicted, label = maps(seed, size)
        measure.add(seed, predicted, label)
        kept = label != IGNORE
        for number in range(3):
            distance = max(1, round(0.02 * (size[0] ** 2 + size[1] ** 2) ** 0.5))
            one, other = (strip((classes == number) & kept, distance) for classes in (predicted, label))
            areas[number] += len(one & other), len(one | other)
    report = measure.report(np.zeros(0))
    np.testing.assert_allclose(report.iou[:3], areas[:3, 0] / areas[:3, 1])
    assert np.isnan(report.iou[3]) and 0.1 < report.mean < 0.9
    assert report.mean == pytest.approx(np.mean(report.iou[:3]))
    assert f"Boundary IoU {report.mean:.4f}" in report.table()
    assert report.to_json()["boundary_iou"]["classes"]["never"] is None


@pytest.mark.parametrize(("size", "expected"), [((1024, 2048), 46), ((8, 8), 1), ((375, 500), 12)])
def test_the_width_is_a_fiftieth_of_the_diagonal(size: tuple[int, int], expected: int) -> None:
    assert strip_width(*size) == expected


def test_all_right_is_one_and_a_shift_costs_more_than_it_costs_iou() -> None:
    label = np.zeros((100, 100), int)
    label[20:80, 20:80] = 1
    right, shifted = BoundaryMeasure(("a", "b"), IGNORE), BoundaryMeasure(("a", "b"), IGNORE)
    right.add(0, label, label)
    shifted.add(0, np.roll(label, 2, 1), label)
    assert right.report(np.zeros(0)).mean == 1
    assert shifted.report(np.zeros(0)).iou[1] < 0.6 < (58 * 60) / (62 * 60)
