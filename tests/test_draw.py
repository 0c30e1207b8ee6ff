"""Images of label maps: right colours at the right pixels, legible at any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paddle_hrfamily.data.classes import ClassTable, class_table
from paddle_hrfamily.visualization import drawing

TABLE = ClassTable(("road", "sky", "tree"), ((128, 64, 128), (70, 130, 180), (107, 142, 35)))
RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def labels(height: int, width: int) -> np.ndarray:
    return RNG.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)


@given(hnp.arrays(st.sampled_from([np.uint8, np.int32, np.int64]), (5, 7), elements=st.sampled_from([0, 1, 2, 3, 255])))
def test_every_pixel_gets_its_classs_colour(label):
    shown = drawing.color_map(label, TABLE)
    for place in np.ndindex(label.shape):
        value = label[place]
        assert tuple(shown[place]) == (TABLE.colors[value] if value < 3 else (0, 0, 0))


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("opacity", [0.0, 0.4, 1.0])
def test_overlays_mix_image_and_colour(channels, opacity):
    image = noise(*(d for d in (9, 11, channels) if d))
    label = labels(9, 11)
    rgb = np.broadcast_to(image.reshape(9, 11, -1)[..., :3], (9, 11, 3)).astype(float)
    mixed = (1 - opacity) * rgb + opacity * drawing.color_map(label, TABLE)
    expected = np.where((label == 255)[..., None], rgb, mixed)
    shown = drawing.overlay(image, label, TABLE, opacity)
    assert shown.dtype == np.uint8
    assert np.abs(shown - expected).max() <= 1


def test_shares_leave_out_what_has_no_class():
    label = np.array([[0, 0, 1, 255]], np.uint8)
    assert drawing.shares(label, TABLE).tolist() == [2 / 3, 1 / 3, 0]
    assert drawing.shares(np.full((2, 2), 255), TABLE).tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(32, 32), (192, 128), (480, 360), (2048, 1024), (3840, 2160)])
@pytest.mark.parametrize("channels", [None, 3])
def test_images_of_any_size_get_a_legend_below(size, channels):
    image, label = noise(*(d for d in (size[1], size[0], channels) if d)), labels(size[1], size[0])
    overlay = drawing.overlay(image, label, TABLE)
    shown = drawing.with_legend(overlay, TABLE, drawing.shares(label, TABLE))
    factor = shown.shape[1] // size[0]
    assert shown.shape[1] == size[0] * factor >= 256
    height = size[1] * factor
    assert np.array_equal(shown[:height:factor, ::factor], overlay)
    strip = shown[height:]
    assert 0.02 < strip.shape[0] / shown.shape[1] < 0.4
    for color in TABLE.colors:
        assert (strip == color).all(-1).sum() > 30
    assert (strip < 60).all(-1).sum() > 100, "the text"


def test_a_legend_names_what_occurs_the_greatest_first():
    strip = drawing.legend(TABLE, 600, [0.2, 0.0, 0.8])
    columns = [np.flatnonzero((strip == color).all(-1).any(0)) for color in TABLE.colors]
    assert columns[1].size == 0
    assert columns[2].max() < columns[0].min()


def test_without_shares_a_legend_is_the_same_for_every_label():
    strip = drawing.legend(TABLE, 600)
    assert all((strip == color).all(-1).any() for color in TABLE.colors)


def test_text_never_runs_over_the_edge():
    table = class_table({"val_dataset": {"type": "Cityscapes"}})
    for width in (256, 300, 511, 1024, 3840):
        strip = drawing.legend(table, width, np.full(19, 1 / 19))
        assert (strip[:, -2:] == 255).all()


def test_150_classes_do_not_swamp_the_image():
    table = class_table({"val_dataset": {"type": "ADE20K"}})
    label = np.arange(150).repeat(2000).reshape(500, 600)
    shown = drawing.with_legend(drawing.overlay(noise(500, 600), label, table), table, drawing.shares(label, table))
    assert shown.shape[0] < 900


def test_panels_stand_side_by_side():
    image, truth, prediction = noise(128, 192, 3), labels(128, 192), labels(128, 192)
    three = drawing.panel(image, truth, {"prediction": prediction}, TABLE)
    two = drawing.panel(image, None, {"prediction": prediction}, TABLE)
    assert three.shape[1] > 3 * 384 > two.shape[1] > 2 * 384
    shown = drawing.overlay(image, truth, TABLE, 0.6).repeat(2, axis=0).repeat(2, axis=1)
    middle = (three.shape[1] - 384) // 2
    top = next(y for y in range(three.shape[0]) if np.array_equal(three[y, :384:2], image[0]))
    assert np.array_equal(three[top : top + 256, middle : middle + 384], shown)


def test_what_is_given_is_not_drawn_into():
    image, label = noise(64, 96, 3), labels(64, 96)
    before = image.copy(), label.copy()
    drawing.panel(image, label, {"prediction": label}, TABLE, 1.0)
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_a_negative_label_is_no_class():
    label = np.array([[-1, 0], [1, -100]])
    assert drawing.color_map(label, TABLE)[0, 0].tolist() == [0, 0, 0]
    assert drawing.shares(label, TABLE).tolist() == [0.5, 0.5, 0]
    image = noise(2, 2, 3)
    shown = drawing.overlay(image, label, TABLE, 1.0)
    assert np.array_equal(shown[0, 0], image[0, 0])
    assert shown[1, 0].tolist() == list(TABLE.colors[1])


def test_images_of_unequal_size_are_compared_at_the_least_width():
    frames = [
        (noise(height, width, 3), labels(height, width), {"net": labels(height, width)})
        for height, width in [(300, 400), (200, 600), (300, 300)]
    ]
    shown = drawing.comparison(frames, TABLE)
    alone = [drawing.comparison([frame], TABLE, width=300) for frame in frames]
    legend = drawing.legend(TABLE, shown.shape[1]).shape[0]
    assert shown.shape[1] == alone[0].shape[1] == 3 * 300 + 2 * 3
    assert shown.shape[0] == sum(part.shape[0] - legend for part in alone) + legend
