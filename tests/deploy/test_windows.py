"""GeoTIFFs by windows: the same labels as of the whole image, at its place, and never the whole image."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rasterio.io import DatasetReader

from hrfamily_deploy import tiling
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import geotiff, image_files
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line
from hrfamily_deploy.serving.engine import SegmentRequest
from hrfamily_deploy.serving.limits import Limits, check
from hrfamily_deploy.serving.network import Network
from hrfamily_deploy.serving.settings import ModelSettings
from tests.deploy.bands_files import PLACE, tiff
from tests.deploy.conftest import COLORS, Describe

Photo = Callable[..., np.ndarray]
TILES = ("--tile", 96, "--overlap", 32, "--device", "cpu")


def infer(*arguments: object) -> int:
    return command_line.main("infer", list(map(str, arguments)))


@pytest.fixture
def aerial(photo: Photo, tmp_path: Path) -> Path:
    (tmp_path / "a b é").mkdir()
    return tiff(tmp_path / "a b é/aerial.tif", photo(224, 320), photometric="RGB", compress="deflate", **PLACE)


@pytest.fixture
def windows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pixels of every window that is read of a GeoTIFF."""
    seen: list[int] = []
    read = geotiff.opened

    class Counting:
        def __init__(self, dataset: DatasetReader) -> None:
            self._dataset = dataset

        def __getattr__(self, name: str) -> object:
            return getattr(self._dataset, name)

        def read(self, *bands: int, **options: object) -> np.ndarray:
            planes = self._dataset.read(*bands, **options)
            seen.append(planes.shape[-1] * planes.shape[-2])
            return planes

    class Opened:
        def __init__(self, *arguments: object) -> None:
            self._context = read(*arguments)  # type: ignore[arg-type]

        def __enter__(self) -> Counting:
            return Counting(self._context.__enter__())

        def __exit__(self, *error: object) -> object:
            return self._context.__exit__(*error)  # type: ignore[arg-type]

    monkeypatch.setattr(geotiff, "opened", Opened)
    return seen


def test_windows_answer_as_the_whole_image(
    describe: Describe, aerial: Path, tmp_path: Path, windows_read: list[int]
) -> None:
    bundle = describe("softmax")
    assert infer(bundle, aerial, *TILES, "--save-dir", tmp_path / "out", "--confidence", "--no-overlay") == 0
    assert max(windows_read[:-1]) <= 96 * 96 and len(windows_read) > 10  # the last one is of the labels
    expected = tiling.predict(Predictor(bundle, device="cpu"), image_files.decode(aerial), 96, 32)
    written = tmp_path / "out/labels/aerial.tif"
    with geotiff.opened(written, "labels") as dataset:
        assert np.array_equal(dataset.read(1), expected)
        assert dataset.colormap(1)[2][:3] == tuple(COLORS[2])
    assert geotiff.coordinates(written) == geotiff.coordinates(aerial) is not None
    with geotiff.opened(tmp_path / "out/confidence/aerial.tif", "confidence") as dataset:
        assert dataset.dtypes == ("uint16",) and dataset.read(1).min() >= 0.2 * 65535
    shares = json.loads((tmp_path / "out/shares.json").read_text())
    assert shares["pictures"][0]["height"] == 224 and sum(shares["shares"].values()) == pytest.approx(1, abs=1e-4)


def test_whole_images_keep_their_place_too(describe: Describe, aerial: Path, tmp_path: Path) -> None:
    bundle = describe()
    assert infer(bundle, aerial, "--device", "cpu", "--save-dir", tmp_path / "out") == 0
    written = tmp_path / "out/labels/aerial.tif"
    assert geotiff.coordinates(written) == geotiff.coordinates(aerial) is not None
    with geotiff.opened(written, "labels") as dataset:
        assert np.array_equal(dataset.read(1), Predictor(bundle, device="cpu").predict(aerial)[0])


def test_alpha_that_is_not_opaque_leaves_the_image_out(
    describe: Describe, photo: Photo, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pixels = np.dstack([photo(160, 160), np.full((160, 160), 255, np.uint8)])
    clear = pixels.copy()
    clear[150:, 150:, 3] = 0
    (tmp_path / "in").mkdir()
    for name, image in (("opaque", pixels), ("clear", clear)):
        tiff(tmp_path / f"in/{name}.tif", image, photometric="RGB", alpha="UNSPECIFIED", **PLACE)
    assert infer(describe(), tmp_path / "in", *TILES, "--save-dir", tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out/labels").iterdir()] == ["opaque.tif"], "and no draft"
    assert "clear.tif: an alpha channel that is not opaque everywhere would be lost" in capsys.readouterr().err


def test_bands_by_windows_and_in_the_server(describe: Describe, photo: Photo, tmp_path: Path) -> None:
    """A network of three bands of 16 bits, which are 256 times those of its 8-bit twin."""
    image = photo(160, 128)
    path = tiff(tmp_path / "a.tif", image.astype(np.uint16) * 256, **PLACE)
    plain = describe("none", "plain")
    twin = describe("none", "bands")
    content = yaml.safe_load((twin / "deploy.yaml").read_text())
    (normalize,) = content["Deploy"]["transforms"]
    stored = {key: [value * 255 * 256 for value in normalize[key]] for key in ("mean", "std")}
    content["Deploy"]["transforms"] = [{"type": "NormalizeBands", "dtype": "uint16", **stored}]
    (twin / "deploy.yaml").write_text(yaml.safe_dump(content))
    expected = tiling.predict(Predictor(plain, device="cpu"), image, 96, 32)
    assert infer(twin, path, *TILES, "--save-dir", tmp_path / "out") == 0
    with geotiff.opened(tmp_path / "out/labels/a.tif", "labels") as dataset:
        assert (dataset.read(1) == expected).mean() > 0.9999
    assert image_files.decode(tmp_path / "out/overlay/a.tif").std() > 20
    check(path.read_bytes(), Limits())
    settings = ModelSettings("fields", partial(Predictor, twin, device="cpu", threads=1), (), 1 << 20, 0.2)
    network = Network(settings)
    try:
        for output, values in (("labels", 5), ("overlay", 256)):
            request = SegmentRequest(path.read_bytes(), output)
            decoded = network.decode(request)
            content = network.respond(request, decoded, network.run([decoded])[0]).content
            answer = np.asarray(Image.open(io.BytesIO(content)))
            assert answer.shape[:2] == (160, 128) and answer.max() < values and answer.std() > 0.5
        with pytest.raises(UserError, match="this network takes 3 channels of uint16"):
            network.decode(SegmentRequest(png(image)))
    finally:
        network.close()


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
