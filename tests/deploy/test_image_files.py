"""Images and videos in and out of files: whole or refused, in true colours, found by folder, list and name."""

from __future__ import annotations

import os
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from hrfamily_deploy.colors import palette
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.imaging.video import Video, video_writer

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".PNG"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    image = noise(13, 17, 3)
    image_files.write(tmp_path / f"deep/er/a{suffix}", image)
    assert np.array_equal(image_files.decode(tmp_path / f"deep/er/a{suffix}"), image)
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_every_kind_of_image_is_read_as_rgb(tmp_path, mode):
    Image.new(mode, (7, 5)).save(tmp_path / "a.png")
    assert image_files.decode(tmp_path / "a.png").shape == (5, 7, 3)


def test_palette_pngs_keep_the_values(tmp_path):
    label = RNG.choice([0, 1, 2, 255], (6, 8)).astype(np.uint8)
    image_files.write_label(tmp_path / "a.png", label, palette(200))
    opened = Image.open(tmp_path / "a.png")
    assert opened.mode == "P"
    assert np.array_equal(np.asarray(opened), label)
    known = label != 255
    assert np.array_equal(np.asarray(opened.convert("RGB"))[known], np.array(palette(3))[label[known]])


def test_files_have_the_users_permissions(tmp_path):
    image_files.write(tmp_path / "a.png", noise(4, 4))
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("shape", [(600, 20, 3), (600, 20)])
def test_writing_leaves_the_callers_array_alone(tmp_path, shape):
    image = noise(*shape)
    before = image.copy()
    image.flags.writeable = False
    image_files.write(tmp_path / "a.png", image)
    assert np.array_equal(image, before)
    assert np.array_equal(image_files.decode(tmp_path / "a.png", 3 if len(shape) == 3 else 1), before)


@pytest.mark.parametrize("shape", [(3,), ()])
def test_parts_are_written_one_below_the_other(tmp_path, shape):
    above, below = noise(30, 20, *shape), noise(7, 20, *shape)
    image_files.write(tmp_path / "a.png", above, below)
    found = image_files.decode(tmp_path / "a.png", 3 if shape else 1)
    assert np.array_equal(found, np.vstack([above, below]))


def test_sixteen_bits(tmp_path):
    for image in (
        np.arange(600, dtype=np.uint16).reshape(20, 30) * 100,
        np.arange(180, dtype=np.uint16).reshape(6, 10, 3),
    ):
        image_files.write(tmp_path / "a.png", image)
        found = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        assert found.dtype == np.uint16 and np.array_equal(found[..., ::-1] if image.ndim == 3 else found, image)


@pytest.mark.parametrize("name", ["a.notanimage", "a"])
def test_an_unknown_format_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"{name}: this image cannot be written as"):
        image_files.write(tmp_path / name, noise(4, 4, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [image_files.write, lambda path, image: image_files.write_label(path, image, [])])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/a\.png: cannot be written \(.+\)") as error:
        write(tmp_path / "file/a.png", noise(4, 4))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_part_of_an_image_is_no_image(tmp_path, suffix, share):
    path = tmp_path / f"half{suffix}"
    data = cv2.imencode(suffix, noise(80, 90, 3))[1].tobytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=f"half{suffix}: not an image, or a damaged one"):
        image_files.decode(path)


@pytest.mark.parametrize("content", [b"", b"no image", "directory", None])
def test_what_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.png"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: "):
        image_files.decode(path)


def make(root, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_folders_are_searched_to_the_bottom(tmp_path):
    make(tmp_path, "b.jpg", "a.PNG", "deep/er/c.jpeg", "notes.txt", ".hidden.jpg", ".ipynb_checkpoints/b.jpg")
    found = image_files.find(tmp_path)
    assert [source.name for source in found] == ["a.PNG", "b.jpg", "deep/er/c.jpeg"]
    assert [source.stem for source in found] == ["a", "b", "deep/er/c"]


def test_no_two_images_share_a_name(tmp_path):
    make(tmp_path, "a.jpg", "a.png", "a.jpg.png", "x/a.jpg", "a.png.bmp")
    found = image_files.find(tmp_path)
    assert len({source.stem for source in found}) == len({source.name for source in found}) == len(found) == 5
    assert {source.path.name: source.unique_name for source in found[:2]} == {
        "a.jpg": "a.jpg",
        "a.jpg.png": "a.jpg.png",
    }
    assert [source.unique_name for source in found if source.name == "a.png"] == ["a.png.png"]


def test_lists_start_from_their_folder(tmp_path):
    make(tmp_path, "data/a.jpg", "data/x y/b.jpg", "far/c.jpg")
    lines = ["a.jpg label.png", "x y/b.jpg", "", str(tmp_path / "far/c.jpg"), "a.jpg"]
    (tmp_path / "data/list.txt").write_text("\n".join(lines))
    found = image_files.find(tmp_path / "data/list.txt")
    expected = [tmp_path / name for name in ("data/a.jpg", "data/x y/b.jpg", "far/c.jpg")]
    assert [source.path.resolve() for source in found] == expected
    assert [source.name for source in found[:2]] == ["a.jpg", "x y/b.jpg"]
    assert not os.path.isabs(found[2].name)
    assert ".." not in found[2].name


def test_one_image_is_named_by_itself(tmp_path):
    make(tmp_path, "deep/a.jpg")
    (source,) = image_files.find(tmp_path / "deep/a.jpg")
    assert (source.name, source.stem) == ("a.jpg", "a")


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "does not exist"), ("empty", "holds no image"), ("binary", "neither an image")]
)
def test_where_there_is_no_image(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=message):
        image_files.find(tmp_path / name)


def test_a_video_is_read_as_it_was_written(tmp_path):
    frames = [np.full((48, 64, 3), (value, 255 - value, 60), np.uint8) for value in range(0, 250, 25)]
    with video_writer(tmp_path / "a.mp4", 12.5) as writer:
        for frame in frames:
            writer.add(frame)
    video = Video(tmp_path / "a.mp4")
    assert (video.fps, video.length) == (12.5, 10)
    read = list(video)
    assert len(read) == 10
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(read, frames)) < 4


def test_a_video_that_fails_half_way_is_not_there(tmp_path):
    def fail() -> None:
        with video_writer(tmp_path / "a.mp4", 10) as writer:
            writer.add(noise(48, 64, 3))
            raise UserError("stop")

    with pytest.raises(UserError, match="stop"):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_corrupt_videos_are_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: not a video"):
        Video(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="does not exist"):
        Video(tmp_path / "b.mp4")


def test_threads_may_write_at_once(tmp_path):
    images = [noise(20, 20, 3) for _ in range(8)]
    threads = [
        threading.Thread(target=image_files.write, args=(tmp_path / f"x/{i}.png", image))
        for i, image in enumerate(images)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(cv2.imread(str(tmp_path / f"x/{i}.png"))[..., ::-1], p) for i, p in enumerate(images))
