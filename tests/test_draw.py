"""Pictures of label maps: right colours at the right pixels, legible at any size; files kept whole."""

from __future__ import annotations

import os
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.host.classes import ClassTable, class_table, palette
from paddle_hrfamily.host.pictures import draw, images

TABLE = ClassTable(("road", "sky", "tree"), ((128, 64, 128), (70, 130, 180), (107, 142, 35)))
RNG = np.random.default_rng(0)


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def labels(height: int, width: int) -> np.ndarray:
    return RNG.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)


@given(hnp.arrays(st.sampled_from([np.uint8, np.int32, np.int64]), (5, 7), elements=st.sampled_from([0, 1, 2, 3, 255])))
def test_every_pixel_gets_its_classs_colour(label):
    shown = draw.color_map(label, TABLE)
    for place in np.ndindex(label.shape):
        value = label[place]
        assert tuple(shown[place]) == (TABLE.colors[value] if value < 3 else (0, 0, 0))


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("opacity", [0.0, 0.4, 1.0])
def test_overlays_mix_image_and_colour(channels, opacity):
    image = picture(*(d for d in (9, 11, channels) if d))
    label = labels(9, 11)
    rgb = np.broadcast_to(image.reshape(9, 11, -1)[..., :3], (9, 11, 3)).astype(float)
    mixed = (1 - opacity) * rgb + opacity * draw.color_map(label, TABLE)
    expected = np.where((label == 255)[..., None], rgb, mixed)
    shown = draw.overlay(image, label, TABLE, opacity)
    assert shown.dtype == np.uint8
    assert np.abs(shown - expected).max() <= 1


def test_shares_leave_out_what_has_no_class():
    label = np.array([[0, 0, 1, 255]], np.uint8)
    assert draw.shares(label, TABLE).tolist() == [2 / 3, 1 / 3, 0]
    assert draw.shares(np.full((2, 2), 255), TABLE).tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(32, 32), (192, 128), (480, 360), (2048, 1024), (3840, 2160)])
@pytest.mark.parametrize("channels", [None, 3])
def test_pictures_of_any_size_get_a_legend_below(size, channels):
    image, label = picture(*(d for d in (size[1], size[0], channels) if d)), labels(size[1], size[0])
    overlay = draw.overlay(image, label, TABLE)
    shown = draw.with_legend(overlay, TABLE, draw.shares(label, TABLE))
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
    strip = draw.legend(TABLE, 600, [0.2, 0.0, 0.8])
    columns = [np.flatnonzero((strip == color).all(-1).any(0)) for color in TABLE.colors]
    assert columns[1].size == 0
    assert columns[2].max() < columns[0].min()


def test_without_shares_a_legend_is_the_same_for_every_label():
    strip = draw.legend(TABLE, 600)
    assert all((strip == color).all(-1).any() for color in TABLE.colors)


def test_text_never_runs_over_the_edge():
    table = class_table({"val_dataset": {"type": "Cityscapes"}})
    for width in (256, 300, 511, 1024, 3840):
        strip = draw.legend(table, width, np.full(19, 1 / 19))
        assert (strip[:, -2:] == 255).all()


def test_150_classes_do_not_swamp_the_picture():
    table = class_table({"val_dataset": {"type": "ADE20K"}})
    label = np.arange(150).repeat(2000).reshape(500, 600)
    shown = draw.with_legend(draw.overlay(picture(500, 600), label, table), table, draw.shares(label, table))
    assert shown.shape[0] < 900


def test_panels_stand_side_by_side():
    image, truth, prediction = picture(128, 192, 3), labels(128, 192), labels(128, 192)
    three = draw.panel(image, truth, {"prediction": prediction}, TABLE)
    two = draw.panel(image, None, {"prediction": prediction}, TABLE)
    assert three.shape[1] > 3 * 384 > two.shape[1] > 2 * 384
    shown = draw.overlay(image, truth, TABLE, 0.6).repeat(2, axis=0).repeat(2, axis=1)
    middle = (three.shape[1] - 384) // 2
    top = next(y for y in range(three.shape[0]) if np.array_equal(three[y, :384:2], image[0]))
    assert np.array_equal(three[top : top + 256, middle : middle + 384], shown)


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".PNG"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    image = picture(13, 17, 3)
    images.write(tmp_path / f"deep/er/a{suffix}", image)
    assert np.array_equal(images.read(tmp_path / f"deep/er/a{suffix}"), image)
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "I;16"])
def test_every_kind_of_picture_is_read_as_rgb(tmp_path, mode):
    Image.new(mode, (7, 5)).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").shape == (5, 7, 3)


def test_palette_pngs_keep_the_values(tmp_path):
    label = labels(6, 8)
    images.write_palette(tmp_path / "a.png", label, np.array(palette(200)))
    opened = Image.open(tmp_path / "a.png")
    assert opened.mode == "P"
    assert np.array_equal(np.asarray(opened), label)
    known = label != 255
    assert np.array_equal(np.asarray(opened.convert("RGB"))[known], np.array(palette(3))[label[known]])


def test_files_have_the_users_permissions(tmp_path):
    images.write(tmp_path / "a.png", picture(4, 4))
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    images.write(path, picture(4, 4))
    before = path.read_bytes()

    def fail() -> None:
        with images.replacing(path) as draft:
            draft.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"no picture", "directory", None])
def test_what_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.png"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: "):
        images.read(path)


# -- which pictures --------------------------------------------------------------------------------------------------


def make(root, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_folders_are_searched_to_the_bottom(tmp_path):
    make(tmp_path, "b.jpg", "a.PNG", "deep/er/c.jpeg", "notes.txt", ".hidden.jpg", ".ipynb_checkpoints/b.jpg")
    found = images.find_sources(tmp_path)
    assert [source.name for source in found] == ["a.PNG", "b.jpg", "deep/er/c.jpeg"]
    assert [source.stem for source in found] == ["a", "b", "deep/er/c"]


def test_no_two_pictures_share_a_name(tmp_path):
    make(tmp_path, "a.jpg", "a.png", "a.jpg.png", "x/a.jpg", "a.png.bmp")
    found = images.find_sources(tmp_path)
    assert len({source.stem for source in found}) == len({source.name for source in found}) == len(found) == 5


def test_lists_start_from_their_folder(tmp_path):
    make(tmp_path, "data/a.jpg", "data/x y/b.jpg", "far/c.jpg")
    lines = ["a.jpg label.png", "x y/b.jpg", "", str(tmp_path / "far/c.jpg"), "a.jpg"]
    (tmp_path / "data/list.txt").write_text("\n".join(lines))
    found = images.find_sources(tmp_path / "data/list.txt")
    expected = [tmp_path / name for name in ("data/a.jpg", "data/x y/b.jpg", "far/c.jpg")]
    assert [source.path.resolve() for source in found] == expected
    assert [source.name for source in found[:2]] == ["a.jpg", "x y/b.jpg"]
    assert not os.path.isabs(found[2].name)
    assert ".." not in found[2].name


def test_one_picture_is_named_by_itself(tmp_path):
    make(tmp_path, "deep/a.jpg")
    (source,) = images.find_sources(tmp_path / "deep/a.jpg")
    assert (source.name, source.stem) == ("a.jpg", "a")


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "does not exist"), ("empty", "holds no picture"), ("binary", "neither a picture")]
)
def test_where_there_is_no_picture(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=message):
        images.find_sources(tmp_path / name)


# -- videos ----------------------------------------------------------------------------------------------------------


def test_a_video_is_read_as_it_was_written(tmp_path):
    frames = [np.full((48, 64, 3), (value, 255 - value, 60), np.uint8) for value in range(0, 250, 25)]
    with images.video_writer(tmp_path / "a.mp4", 12.5) as writer:
        for frame in frames:
            writer.add(frame)
    video = images.Video(tmp_path / "a.mp4")
    assert (video.fps, video.length) == (12.5, 10)
    read = list(video)
    assert len(read) == 10
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(read, frames)) < 4


def test_a_video_that_fails_half_way_is_not_there(tmp_path):
    def fail() -> None:
        with images.video_writer(tmp_path / "a.mp4", 10) as writer:
            writer.add(picture(48, 64, 3))
            raise UserError("stop")

    with pytest.raises(UserError, match="stop"):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_corrupt_videos_are_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: not a video"):
        images.Video(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="does not exist"):
        images.Video(tmp_path / "b.mp4")


def test_threads_may_write_at_once(tmp_path):
    pictures = [picture(20, 20, 3) for _ in range(8)]
    threads = [
        threading.Thread(target=images.write, args=(tmp_path / f"x/{i}.png", image)) for i, image in enumerate(pictures)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(cv2.imread(str(tmp_path / f"x/{i}.png"))[..., ::-1], p) for i, p in enumerate(pictures))
