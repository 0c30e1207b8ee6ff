"""Polygons of label maps: exact ones give the map back to who draws them, as labelme, COCO's tools and rasterio do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from PIL import Image

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.imaging.geotiff import Coordinates
from hrfamily_deploy.polygons import FORMATS, Picture, PolygonFiles, Polygons
from hrfamily_deploy.polygons.regions import merged, regions, signed_area
from hrfamily_deploy.scripts import command_line
from paddle_hrfamily.data.importing import layouts
from paddle_hrfamily.data.importing.source import IGNORED, Answers
from tests.deploy.conftest import CLASSES, Describe

NAMES = ("road", "car", "tree", "sky")
WITH_BACKGROUND = ("background", "car", "tree", "sky")


@st.composite
def label_maps(draw: st.DrawFn) -> np.ndarray:
    """Noise of several grains: holes within holes, regions that touch at corners, single pixels."""
    height, width, grain = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, draw(st.integers(1, 4)), (height, width))
    return numbers.astype(np.uint8).repeat(grain, axis=0).repeat(grain, axis=1)


_ROWS = ("000000", "011110", "010010", "012010", "011110", "300000")
RINGS = np.array([list(map(int, row)) for row in _ROWS], np.uint8)  # a region in a hole, and one at a corner


def inside(rings: list, height: int, width: int) -> np.ndarray:
    """(H, W) the pixels whose centre is within the first ring and in none of the others."""
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    outer, *holes = (Outline(np.asarray(ring)).contains_points(centres) for ring in rings)
    return (outer & ~np.any(holes, axis=0) if holes else outer).reshape(height, width)


def write(kind: str, folder: Path, label: np.ndarray, classes: Classes, **options: float) -> None:
    """An image and the polygons of its label map, beside each other."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", label.shape[::-1]).save(folder / "a.png")
    files = PolygonFiles(Polygons(kind, **options), folder, classes)
    files.add(folder / "a.png", "a.png", "a", label)
    files.finish()


def read_back(kind: str, folder: Path, classes: Classes, shape: tuple[int, int]) -> np.ndarray:
    """As `hrfamily new --classes` reads it."""
    source = layouts.find(folder, Answers(layout=kind, classes=classes.names))
    [item] = source.items
    return item.label.draw(*shape) if item.label else np.zeros(shape, np.uint8)


def classes_of(names: tuple[str, ...], unsure: int | None = None) -> Classes:
    return Classes(names, tuple((index, 0, 0) for index in range(len(names))), unsure)


@pytest.mark.parametrize("kind", ["labelme", "coco"])
@pytest.mark.parametrize("names", [NAMES, WITH_BACKGROUND])
@settings(max_examples=40, deadline=None)
@given(label=label_maps())
def test_exact_polygons_come_back_as_the_same_label_map(
    tmp_path_factory: pytest.TempPathFactory, kind: str, names: tuple[str, ...], label: np.ndarray
) -> None:
    if kind == "coco":
        pytest.importorskip("pycocotools")
    folder, classes = tmp_path_factory.mktemp("round"), classes_of(names)
    for tried in (label, RINGS):
        write(kind, folder, tried, classes)
        np.testing.assert_array_equal(read_back(kind, folder, classes, tried.shape), tried)


@pytest.mark.parametrize("kind", ["labelme", "coco"])
def test_unsure_pixels_come_back_as_ignored(tmp_path: Path, kind: str) -> None:
    if kind == "coco":
        pytest.importorskip("pycocotools")
    label = np.where(RINGS == 2, 255, RINGS).astype(np.uint8)
    write(kind, tmp_path, label, classes_of(NAMES, 255))
    found = read_back(kind, tmp_path, classes_of(NAMES), label.shape)
    np.testing.assert_array_equal(found, np.where(label == 255, IGNORED, label))


@settings(max_examples=40, deadline=None)
@given(label=label_maps(), tolerance=st.floats(0.3, 3))
def test_rings_hold_the_pixels_and_simplified_ones_leave_no_gap(label: np.ndarray, tolerance: float) -> None:
    for tried in (label, RINGS):
        found = regions(tried)
        drawn = np.full(tried.shape, 99)
        for region in found:
            pixels = inside(region.rings, *tried.shape)
            assert pixels.sum() == region.area and (drawn[pixels] == 99).all()
            drawn[pixels] = region.number
        np.testing.assert_array_equal(drawn, tried)
        assert [region.filled for region in found] == sorted((region.filled for region in found), reverse=True)
        areas = [[abs(signed_area(ring)) for ring in region.rings] for region in regions(tried, tolerance=tolerance)]
        assert sum(outer - sum(holes) for outer, *holes in areas) == pytest.approx(tried.size)


def test_simplified_polygons_have_fewer_points_that_neighbours_share() -> None:
    rows, columns = np.mgrid[:80, :120]
    label = (rows > 40 + 20 * np.sin(columns / 15)).astype(np.uint8)
    exact, simple = regions(label), regions(label, tolerance=2)
    assert sum(len(region.rings[0]) for region in simple) < sum(len(region.rings[0]) for region in exact) / 5
    upper, lower = ({tuple(point) for point in region.rings[0]} for region in simple)
    assert len(upper & lower) > 4 and {(0.0, 0.0), (120.0, 0.0)} < upper and {(0.0, 80.0), (120.0, 80.0)} < lower
    drawn = sum(inside(region.rings, 80, 120) * (region.number + 1) for region in simple) - 1
    wrong = np.argwhere(drawn != label)
    border = np.argwhere(label != np.roll(label, 1, axis=0))[:, None]
    assert len(wrong) > 0 and np.abs(wrong[None] - border).max(axis=2).min(axis=0).max() <= 3


def test_small_regions_join_the_nearest_that_is_kept() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[:, 12:] = 1
    label[3:5, 3:5], label[10, 13:15] = 2, 2  # of four pixels and of two
    kept = merged(label, 3)
    assert (kept[10, 13:15] == 1).all() and (kept[3:5, 3:5] == 2).all()
    assert set(np.unique(merged(label, 5))) == {0, 1} and (merged(label, 5)[3:5, 3:5] == 0).all()
    assert merged(label, 500) is None and regions(label, least=500) == []
    assert len(regions(label)) == 4 and len(regions(label, least=5)) == 2


def test_a_region_with_a_hole_is_run_lengths_in_coco_and_two_polygons_in_labelme(tmp_path: Path) -> None:
    label = np.zeros((6, 7), np.uint8)
    label[1:5, 1:6] = 1
    label[2:4, 3] = 0
    write("coco", tmp_path, label, classes_of(WITH_BACKGROUND))
    [entry] = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert entry["bbox"] == [1, 1, 5, 4] and entry["area"] == 18 and entry["category_id"] == 2
    counts = entry["segmentation"]["counts"]
    runs = np.repeat(np.arange(len(counts)) % 2, counts).reshape(7, 6).T
    np.testing.assert_array_equal(runs, label)
    write("labelme", tmp_path, label, classes_of(WITH_BACKGROUND))
    shapes = json.loads((tmp_path / "a.json").read_text())["shapes"]
    assert [shape["label"] for shape in shapes] == ["car", "_background_"]  # the outer background needs no polygon
    assert sorted(shapes[0]["points"]) == [[1, 1], [1, 4], [5, 1], [5, 4]]


def test_geojson_has_holes_and_colours_in_pixels_or_on_the_map(tmp_path: Path) -> None:
    classes = classes_of(NAMES, 255)
    label = np.where(RINGS == 3, 255, RINGS).astype(np.uint8)
    write("geojson", tmp_path, label, classes)
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in content and len(content["features"]) == len(regions(label))
    drawn = np.full(label.shape, 99)
    for feature in content["features"]:
        rings, entry = feature["geometry"]["coordinates"], feature["properties"]
        assert all(ring[0] == ring[-1] for ring in rings)
        assert [signed_area(np.array(ring[:-1])) > 0 for ring in rings] == [True, *[False] * (len(rings) - 1)]
        assert entry["class"] == ("unsure" if entry["number"] == 255 else NAMES[entry["number"]])
        assert entry["color"] == ("#ffffff" if entry["number"] == 255 else f"#{entry['number']:02x}0000")
        drawn[inside(rings, *label.shape)] = entry["number"]
    np.testing.assert_array_equal(drawn, label)

    class Crs:
        def to_authority(self) -> tuple[str, str]:
            return "EPSG", "32633"

    place = Coordinates(Crs(), (0.5, 0.0, 500000.0, 0.0, -0.5, 5300000.0))  # y falls from row to row
    picture = Picture(tmp_path / "a.png", "a.png", "map", label.shape, regions(label), place=place)
    FORMATS["geojson"](tmp_path, classes).add(picture)
    content = json.loads((tmp_path / "map.geojson").read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    outer = np.array(content["features"][0]["geometry"]["coordinates"][0])
    assert signed_area(outer[:-1]) > 0
    assert outer.min(axis=0).tolist() == [500000, 5299997] and outer.max(axis=0).tolist() == [500003, 5300000]


def test_a_geotiff_keeps_its_coordinates(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio import features
    from rasterio.transform import from_origin

    transform = from_origin(399960, 4900020, 10, 10)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": 6, "width": 6}
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:32632", transform=transform, **profile) as file:
        file.write(np.zeros((3, 6, 6), np.uint8))
    files = PolygonFiles(Polygons("geojson"), tmp_path, classes_of(NAMES))
    files.add(tmp_path / "a.tif", "a.tif", "a", RINGS)
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    shapes = [(feature["geometry"], feature["properties"]["number"]) for feature in content["features"]]
    drawn = features.rasterize(shapes, RINGS.shape, fill=99, transform=transform, dtype="uint8")
    np.testing.assert_array_equal(drawn, RINGS)


@pytest.mark.parametrize("kind", FORMATS)
def test_infer_writes_them(describe: Describe, tmp_path: Path, photo, kind: str) -> None:
    images = tmp_path / "images"
    for name in ("a.png", "deep/b.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(40, 60, len(name))).save(images / name)
    command = ["infer", str(describe()), str(images), "--save-dir", str(tmp_path / "out"), "--device", "cpu"]
    assert command_line.main(command[0], [*command[1:], "--polygons", kind, "--no-overlay"]) == 0
    written = {
        path.relative_to(tmp_path / "out/polygons").as_posix() for path in (tmp_path / "out/polygons").rglob("*.*")
    }
    suffix = {"labelme": ".json", "geojson": ".geojson"}.get(kind)
    assert written == ({f"a{suffix}", f"deep/b{suffix}"} if suffix else {"coco.json"})
    if kind != "labelme":
        return
    for name in ("a", "deep/b"):  # put beside the images, as the documentation says
        (images / f"{name}.json").write_text((tmp_path / "out/polygons" / f"{name}.json").read_text())
    source = layouts.find(images, Answers(classes=CLASSES))
    for item in source.items:
        stem = item.image.relative_to(images).with_suffix("")
        with Image.open(tmp_path / "out/labels" / f"{stem}.png") as image:
            np.testing.assert_array_equal(item.label.draw(40, 60), np.array(image))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--min-area", "-1"], "min-area -1 must"),
        (["--tolerance", "-2"], "tolerance -2.0 must"),
        (["--tolerance", "nan"], "tolerance nan must"),
        (["--polygons", "svg"], "--polygons"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path: Path, capsys, flags: list[str], words: str) -> None:
    assert command_line.main("infer", [str(tmp_path), "x.png", *flags]) == 2
    assert words in capsys.readouterr().err


def test_numbers_are_checked_once() -> None:
    with pytest.raises(UserError, match="min-area -3"):
        Polygons("coco", least=-3)
