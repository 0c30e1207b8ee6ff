"""Tiles: no seam where the overlap holds what a label depends on, every pixel once, and memory for one tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrfamily_deploy import tiling
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from tests.deploy.conftest import CHAINS_THAT_RESIZE, REACH, Describe


@pytest.mark.parametrize("graph", ["argmax", "none"])
@pytest.mark.parametrize("size", [(64, 64), (160, 224), (320, 96), (32, 352), (100, 268)])
def test_no_seam(describe: Describe, photo, graph: str, size: tuple[int, int]) -> None:
    predictor = Predictor(describe(graph), device="cpu", batch=3)
    image = photo(*size)
    whole = predictor.predict(image)[0]
    assert 2 * REACH <= 32
    label = tiling.predict(predictor, image, tile=96, overlap=32)
    assert label.dtype == np.uint8 and (label == whole).mean() >= 0.9999
    without = tiling.predict(predictor, image, tile=96, overlap=0)
    assert max(size) <= 96 or (without != whole).sum() > (label != whole).sum()  # this comparison sees seams


@pytest.mark.parametrize("size", [(101, 259), (333, 47), (20, 31)])
def test_sizes_off_the_grid(describe: Describe, photo, size: tuple[int, int]) -> None:
    predictor = Predictor(describe(), device="cpu")
    image = photo(*size)
    label = tiling.predict(predictor, image, tile=96, overlap=32)
    # At odd sizes the whole image is resized by a ratio of its own, such as 101 / 26 in place of 4.
    assert label.shape == size and (label == predictor.predict(image)[0]).mean() > 0.8


def test_a_graph_of_fixed_shape_has_its_own_tile(describe: Describe, photo) -> None:
    image = photo(160, 224)
    whole = Predictor(describe(), device="cpu").predict(image)[0]
    fixed = Predictor(describe("fixed"), device="cpu")
    assert (tiling.predict(fixed, image, tile=1024, overlap=32) == whole).mean() >= 0.9999
    with pytest.raises(UserError, match="overlap 64 .* side, 64"):
        tiling.predict(fixed, image, overlap=64)


def test_labels_of_many_classes_are_of_one_type_in_every_tile(describe: Describe, photo) -> None:
    """A first tile whose numbers fit into a byte must not cut those of the others to one."""
    names = [f"class {number}" for number in range(300)]
    many = describe(
        "argmax", class_names=names, class_colors=[[number % 256, number // 256, 0] for number in range(300)]
    )
    predictor, image = Predictor(many, device="cpu"), photo(160, 224)
    assert predictor.predict(image)[0].dtype == np.uint16
    assert tiling.predict(predictor, image, tile=96, overlap=32).dtype == np.uint16


@given(st.integers(1, 3000), st.integers(1, 12), st.integers(0, 11), st.booleans())
def test_every_pixel_is_taken_once_with_its_context(length: int, side: int, shared: int, fixed: bool) -> None:
    tile, overlap = 32 * side, 32 * min(shared, side - 1)
    found = tiling.spans(length, tile, overlap, fixed)
    assert found[0].first == 0 and found[-1].last == length
    for span in found:
        assert 0 <= span.start <= span.first <= span.last <= span.stop <= length
        whole = span.stop - span.start == min(tile, length)
        on_grid = span.start % 32 == 0
        assert (whole and on_grid) or (span is found[-1] and (whole if fixed else on_grid))
        assert span.first - span.start >= overlap // 2 or span.first == 0
        assert span.stop - span.last >= overlap // 2 or span.last == length
        assert tile - 32 < span.stop - span.start or length < tile
    assert all(before.last == after.first for before, after in zip(found, found[1:]))


def test_a_tile_is_all_that_is_run_at_a_time(describe: Describe, monkeypatch, photo) -> None:
    predictor = Predictor(describe(), device="cpu", batch=2)
    seen, run = [], predictor._runner.run
    monkeypatch.setattr(predictor._runner, "run", lambda planes: seen.append(planes.shape) or run(planes))
    tiling.predict(predictor, photo(480, 640), tile=96, overlap=32)
    assert set(seen) <= {(2, 3, 96, 96), (1, 3, 96, 96)} and len(seen) > 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 100}, "side, 100, must be a multiple of 32"),
        ({"tile": 128, "overlap": 40}, "overlap 40"),
        ({"tile": 128, "overlap": 128}, "overlap 128"),
        ({"tile": 128, "overlap": -32}, "overlap -32"),
    ],
)
def test_sides_that_do_not_fit(describe: Describe, photo, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tiling.predict(Predictor(describe(), device="cpu"), photo(64, 64), **options)


def test_transforms_that_resize_are_refused(describe: Describe, photo) -> None:
    predictor = Predictor(describe(transforms=CHAINS_THAT_RESIZE["ResizeByLong"]), device="cpu")
    with pytest.raises(UserError, match=r"keep an image's size.*deploy\.yaml"):
        tiling.predict(predictor, photo(64, 64))
