"""Images as they are stored: nothing of a file is lost, or its reading is refused; and what there is to look at."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import bands, geotiff, image_files
from hrfamily_deploy.imaging.preprocess import Pipeline
from tests.deploy import bands_files
from tests.deploy.bands_files import tiff

RNG = np.random.default_rng(0)


def noise(dtype: str, *shape: int) -> np.ndarray:
    if dtype == "float32":
        return RNG.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def png(path: Path, image: np.ndarray) -> Path:
    order = {2: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's of channels, Pillow lacking 16 bits
    cv2.imwrite(str(path), image if image.ndim == 2 else image[..., order[image.shape[2]]])
    return path


@pytest.mark.parametrize("shape", [(21, 34), (21, 34, 3), (21, 34, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_is_read_without_loss(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    image = noise(dtype, *shape)
    data = png(tmp_path / "a b é.png", image).read_bytes()
    found = bands.read(data, "a")
    assert found.dtype == dtype and np.array_equal(found, image)


def test_grey_with_alpha_has_two_channels() -> None:
    image = noise("uint8", 9, 7, 2)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    assert np.array_equal(bands.read(stream.getvalue(), "a"), image)


@pytest.mark.parametrize("dtype", bands.TYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 13])
@pytest.mark.parametrize("form", [{}, {"interleave": "band"}, {"compress": "lzw", "tiled": True}], ids=str)
def test_tiff_is_read_without_loss(tmp_path: Path, dtype: str, channels: int, form: dict[str, Any]) -> None:
    image = noise(dtype, 33, 47, channels)
    found = bands.read(tiff(tmp_path / "a.tif", image, **form).read_bytes(), "a")
    assert found.dtype == dtype and np.array_equal(found, image[..., 0] if channels == 1 else image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_images_are_turned_as_their_orientation_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:8, :8], pixels[16:, 24:] = (250, 20, 20), (20, 20, 250)
    if suffix == ".tif":
        Image.fromarray(pixels).save(path, tiffinfo={274: orientation})
    else:
        Image.fromarray(pixels).save(path, exif=exif, quality=100)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    stored = bands.read(path.read_bytes(), "a")
    assert stored.shape == expected.shape and np.abs(stored.astype(int) - expected).max() <= 2
    plain = image_files.decode(path)
    assert plain.shape == expected.shape and np.abs(plain.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("name", bands_files.KINDS)
def test_what_8_bit_rgb_would_lose_is_refused(tmp_path: Path, name: str) -> None:
    write, lost = bands_files.KINDS[name]
    path = write(tmp_path / "a b é")
    with path.open("rb") as stream:
        assert bands.loss(stream) == lost
    if lost is None:
        assert image_files.decode(path).shape == (12, 10, 3)
    else:
        with pytest.raises(UserError, match=f"a b é.*: {lost} would be lost: .*NormalizeBands"):
            image_files.decode(path)


def test_a_network_of_bands_takes_its_own_kind_alone(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", noise("uint16", 9, 7, 5))
    assert image_files.decode(path, 5, "uint16").shape == (9, 7, 5)
    with pytest.raises(UserError, match="a.tif: 5 channels, and this network takes 4 channels of uint16"):
        image_files.decode(path, 4, "uint16")
    with pytest.raises(UserError, match=r"a.tif: shape \(9, 7, 5\) and type uint16, and .* channels of uint8"):
        image_files.decode(path, 5, "uint8")
    with pytest.raises(UserError, match="type uint8"):
        image_files.decode(noise("uint8", 9, 7, 5), 5, "uint16")
    assert image_files.decode(noise("uint16", 9, 7, 1), 1, "uint16").shape == (9, 7)


def test_damaged_and_unfit_files_are_one_line(tmp_path: Path) -> None:
    whole = tiff(tmp_path / "a.tif", noise("uint16", 64, 64, 5)).read_bytes()
    pages = io.BytesIO()
    frames = [Image.fromarray(noise("uint8", 8, 8)) for _ in range(3)]
    frames[0].save(pages, "TIFF", save_all=True, append_images=frames[1:])
    holes = np.full((8, 8, 2), np.nan, np.float32)
    large = tiff(tmp_path / "b.tif", np.zeros((8, 8, 2), np.float64))
    for data, message in (
        (whole[:5000], "a.tif: not a TIFF that can be read, or a damaged one"),
        (whole[:60], "a.tif: not a TIFF that can be read, or a damaged one"),
        (whole[:5], "a.tif: not an image, or a damaged one"),
        (pages.getvalue(), "a.tif: has 3 pages; save its bands as channels of one page"),
        (tiff(tmp_path / "c.tif", holes).read_bytes(), "a.tif: holds values that are no numbers"),
        (large.read_bytes(), "a.tif: holds float64 values; convert them to one of uint8, "),
    ):
        with pytest.raises(UserError, match=message) as caught:
            bands.read(data, "a.tif")
        assert "\n" not in str(caught.value)


def test_without_rasterio_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff(tmp_path / "a.tif", noise("uint16", 8, 8, 5))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"a.tif: TIFF of .* needs rasterio: pip install 'paddle_hrfamily\[geo\]'"):
        bands.read(path.read_bytes(), "a.tif")
    assert image_files.decode(png(tmp_path / "b.png", noise("uint16", 8, 8, 3)), 3, "uint16").shape == (8, 8, 3)


def test_what_there_is_to_look_at() -> None:
    image = noise("uint8", 9, 7, 3)
    assert np.array_equal(bands.visible(image), image)
    assert bands.visible(noise("uint8", 9, 7)).shape == bands.visible(noise("uint16", 9, 7, 2)).shape == (9, 7, 3)
    ramp = np.linspace(500, 900, 1000).reshape(25, 40).astype(np.uint16)
    shown = bands.visible(np.stack([ramp, ramp * 20, ramp * 0, ramp, ramp], axis=2))
    assert shown.dtype == np.uint8 and shown[0, 0, 0] == 0 and shown[-1, -1, 0] == 255
    assert np.abs(shown[..., 0].astype(int) - shown[..., 1]).max() <= 1 and shown[..., 2].max() == 0


def test_bands_are_normalised_in_their_own_units_and_padded(tmp_path: Path) -> None:
    image = noise("uint16", 20, 30, 6)
    mean, std = [float(100 * i) for i in range(6)], [float(10 + i) for i in range(6)]
    steps = [
        {"type": "NormalizeBands", "mean": mean, "std": std, "dtype": "uint16"},
        {"type": "Padding", "target_size": [64, 32], "im_padding_value": 0},
    ]
    planes = Pipeline(steps, 6, tmp_path)(image).planes
    assert planes.shape == (6, 32, 64) and planes.dtype == np.float32
    expected = (image.astype(np.float64) - mean) / std
    np.testing.assert_allclose(planes[:, :20, :30], expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-5)
    assert not planes[:, 20:].any() and not planes[:, :, 30:].any()
    with pytest.raises(UserError, match="NormalizeBands: mean must be a list of 5 numbers"):
        Pipeline(steps, 5, tmp_path)


def test_coordinates_are_those_of_the_file(tmp_path: Path) -> None:
    plain = tiff(tmp_path / "a.tif", noise("uint8", 8, 8, 3))
    placed = tiff(tmp_path / "b.tif", noise("uint8", 8, 8, 3), **bands_files.PLACE)
    for other in (plain, png(tmp_path / "c.png", noise("uint8", 8, 8))):
        assert geotiff.coordinates(other) is None
    place = geotiff.coordinates(placed)
    assert place is not None and place.crs.to_epsg() == 32632 and place.transform == bands_files.PLACE["transform"]
    source = image_files.find(placed)[0]
    label = noise("uint8", 8, 8) % 3
    written = image_files.write_map(tmp_path / "out", source, label, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    assert written == tmp_path / "out/b.tif" and geotiff.coordinates(written) == place
    with geotiff.opened(written, "b") as dataset:
        assert np.array_equal(dataset.read(1), label) and dataset.colormap(1)[1] == (4, 5, 6, 255)
    assert image_files.write_map(tmp_path / "out", image_files.find(plain)[0], label, ()).suffix == ".png"
