"""A user's own data in every layout: found, understood, drawn the same; and what is wrong with it said in a line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrfamily_deploy.files import Unwritable
from paddle_hrfamily.data import CamVid, CityscapesFine, OwnData
from paddle_hrfamily.data.importing import layouts, preparing, splitting
from paddle_hrfamily.data.importing.preparing import Record
from paddle_hrfamily.data.importing.source import IGNORED, Answers, Question, Source
from paddle_hrfamily.data.own_data import write_list
from paddle_hrfamily.errors import UserError
from tests import own_data
from tests.own_data import COLORS, COUNT, LAYOUTS, NAMES, PAIRS

NAMED = Answers(classes=NAMES)


def prepared(root: Path, output: Path, answers: Answers = NAMED) -> tuple[Source, list[Record]]:
    source = layouts.find(root, answers)
    return source, preparing.prepare(source, output)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_label_maps(layout: str, tmp_path: Path) -> None:
    write, names_classes, splits = LAYOUTS[layout]
    root = tmp_path / "my data"
    write(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    source, records = prepared(root, tmp_path / "out", Answers() if names_classes else NAMED)
    assert source.names == NAMES and len(records) == COUNT
    order = sorted(
        records,
        key=lambda record: (
            [int(part) for part in filter(str.isdigit, Path(record.image).stem.split())]
            or [int(Path(record.image).stem.split("-")[1])]
        ),
    )
    for record, (_, label) in zip(order, PAIRS):
        drawn = np.asarray(Image.open(str(record.label)))
        assert np.array_equal(drawn, label), record.image
        assert record.pixels == (*np.bincount(label.ravel(), minlength=3), 0)
    assert {record.split for record in records} == ({"train", "val"} if splits else {None})
    part = splitting.split(records, 0.25, 0)
    assert (len(part.train), len(part.val)) == (9, 3)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}, "the sources stay as they are"
    if source.colors:
        assert source.colors == COLORS


def test_masks_in_colour_are_asked_about_and_then_understood(tmp_path: Path) -> None:
    own_data.folders(tmp_path / "a", own_data.colored)
    source = layouts.find(tmp_path / "a", Answers())
    assert source.names == ("background", "class 1", "class 2") and "--classes" in source.notes[0]
    with pytest.raises(UserError, match="say which is which with --colors"):
        layouts.find(tmp_path / "a", NAMED)
    source, records = prepared(tmp_path / "a", tmp_path / "out", Answers(classes=NAMES, colors=COLORS))
    assert np.array_equal(np.asarray(Image.open(str(records[0].label))), PAIRS[0][1])


@pytest.mark.parametrize(
    ("values", "ignore", "expected", "classes"),
    [
        ((0, 255, 255), None, {255: 1}, 2),  # black and white
        ((0, 1, 255), None, {255: IGNORED}, 2),
        ((1, 2, 3), None, {1: 0, 2: 1, 3: 2}, 3),  # counted from 1
        ((0, 127, 254), None, {127: 1, 254: 2}, 3),  # spread over the greys
        ((0, 128, 255), "none", {128: 1, 255: 2}, 3),
        ((0, 128, 255), "255", {128: 1, 255: IGNORED}, 2),
        ((0, 1, 9), None, {}, 10),  # two of ten classes
        ((0, 1, 3), "3", {3: IGNORED}, 2),
    ],
)
def test_values_of_grey_masks_are_understood(
    values: tuple[int, ...], ignore: str | None, expected: dict[int, int], classes: int, tmp_path: Path
) -> None:
    table = np.array(values, np.uint8)
    own_data.folders(tmp_path / "a", lambda label: Image.fromarray(table[label]))
    source, _records = prepared(tmp_path / "a", tmp_path / "out", Answers(ignore=ignore))
    relabel = {value: meaning for value, meaning in (source.relabel or {}).items() if value != meaning}
    assert {value: meaning for value, meaning in relabel.items() if (value, meaning) != (255, 255)} == {
        value: meaning for value, meaning in expected.items() if value != meaning
    }
    assert len(source.names) == classes
    assert not (tmp_path / "out" / "labels").exists(), "masks of numbers are read where they are"


def test_a_mask_of_another_format_is_relabelled_once_like_the_others(tmp_path: Path) -> None:
    """Masks count from 1; one is grey stored as colour, so that it is written anew and the others are read in place."""
    own_data.folders(tmp_path / "a", lambda label: Image.fromarray(label + 1))
    odd = first(tmp_path / "a", "masks")
    Image.open(odd).convert("RGB").save(odd)
    source, records = prepared(tmp_path / "a", tmp_path / "out")
    assert (
        source.relabel == {1: 0, 2: 1, 3: 2} and "out" in str(records[0].label) and "out" not in str(records[1].label)
    )
    path = tmp_path / "train.txt"
    path.write_text(write_list(path, [(Path(r.image), Path(str(r.label))) for r in records]), encoding="utf-8")
    data = OwnData("val", [], str(path), 3, source.relabel)
    for index, (_, label) in enumerate(PAIRS):
        assert np.array_equal(data[index]["label"][0], label)


def test_an_ambiguous_255_is_a_question(tmp_path: Path) -> None:
    own_data.folders(tmp_path, lambda label: Image.fromarray(np.array([0, 128, 255], np.uint8)[label]))
    with pytest.raises(
        Question, match=r"255 may be a class or stand for none; answer with --ignore 255 or --ignore none"
    ):
        layouts.find(tmp_path, Answers())


def test_two_layouts_in_one_folder_are_a_question(tmp_path: Path) -> None:
    own_data.labelme(tmp_path)
    own_data.lists(tmp_path)
    with pytest.raises(Question, match="--layout lists or --layout labelme"):
        layouts.find(tmp_path, Answers())
    assert layouts.find(tmp_path, Answers(layout="labelme")).layout == "labelme"


def test_polygons_of_coco_are_drawn(tmp_path: Path) -> None:
    """A square with a hole is two polygons to nobody; a square alone covers its pixels."""
    own_data.coco(tmp_path)
    file = tmp_path / "annotations" / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"] = [
        {"id": 1, "image_id": 100, "category_id": 7, "segmentation": [[10, 10, 30, 10, 30, 20, 10, 20]], "iscrowd": 0}
    ]
    file.write_text(json.dumps(content))
    _source, records = prepared(tmp_path, tmp_path.parent / "out", Answers())
    drawn = np.asarray(Image.open(str(records[0].label)))
    assert (drawn[10:20, 10:30] == 1).all() and (drawn == 1).sum() == 200
    assert not np.asarray(Image.open(str(records[1].label))).any()


# What is wrong with a data set, by a name: what makes it so of twelve pairs in folders (or another layout), and the
# message, which names file and fix.
Spoil = Callable[[Path], None]


def first(root: Path, folder: str) -> Path:
    return sorted((root / folder).iterdir())[0]


def in_folders(change: Spoil) -> Spoil:
    def make(root: Path) -> None:
        own_data.folders(root)
        change(root)

    return make


def resave(path: Path, change: Callable[[np.ndarray], np.ndarray], **options: object) -> None:
    Image.fromarray(change(np.asarray(Image.open(path)))).save(path, **options)


def every_mask(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in (root / "masks").iterdir():
        resave(path, change)


def edited(make: Callable[[Path], None], change: Callable[[dict], object], pattern: str = "*.json") -> Spoil:
    def spoil(root: Path) -> None:
        make(root)
        file = sorted(root.rglob(pattern))[0]
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoil


def rename_masks(root: Path) -> None:
    for number, path in enumerate(sorted((root / "masks").iterdir())):
        path.rename(path.with_name(f"{number}.png"))


def as_jpeg(root: Path) -> None:
    for path in list((root / "masks").iterdir()):
        noise = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8)
        Image.fromarray(noise).save(path.with_suffix(".jpg"), quality=60)
        path.unlink()


def twice(root: Path) -> None:
    shutil.copytree(root / "masks", root / "labels")


def list_of(text: str) -> Spoil:
    return in_folders(lambda root: (root / "train.txt").write_text(text, encoding="utf-8"))


BROKEN: dict[str, tuple[Spoil, str]] = {
    "no folder": (lambda root: None, "is no folder; name the one that holds"),
    "empty folder": (lambda root: root.mkdir(), "no images with labels"),
    "images alone": (in_folders(lambda root: shutil.rmtree(root / "masks")), "no images with labels"),
    "masks alone": (in_folders(lambda root: shutil.rmtree(root / "images")), "no images with labels"),
    "no name in common": (in_folders(rename_masks), r"no mask is called as its image is, such as photo .* and 0\.png"),
    "truncated mask": (
        in_folders(lambda r: first(r, "masks").write_bytes(first(r, "masks").read_bytes()[:60])),
        r"masks/photo 00 é\.png: the mask cannot be read .* save it again as PNG",
    ),
    "empty mask file": (
        in_folders(lambda r: first(r, "masks").write_bytes(b"")),
        "photo 00 é.png: the mask cannot be read",
    ),
    "truncated image": (
        in_folders(lambda r: first(r, "images").write_bytes(first(r, "images").read_bytes()[:200])),
        r"images/photo 00 é\.png: the image cannot be read",
    ),
    "text as image": (
        in_folders(lambda r: first(r, "images").write_text("hello")),
        "photo 00 é.png: the image cannot be read",
    ),
    "other size": (
        in_folders(lambda r: resave(first(r, "masks"), lambda a: a[:40])),
        r"photo 00 é\.png: the mask is 64x40 and its image 64x48; resize the mask with nearest",
    ),
    "turned": (
        in_folders(lambda r: resave(first(r, "masks"), lambda a: a.T.copy())),
        r"the mask is 48x64 and its image 64x48; .* or turn it as the image is",
    ),
    "photographs as masks": (in_folders(as_jpeg), r"photo 00 é\.jpg: the mask has \d+ values; it is a photograph"),
    "one mask in colour": (
        in_folders(lambda r: own_data.colored(PAIRS[0][1]).save(first(r, "masks"))),
        "is a mask in colour and .* one of numbers; save all masks in one way",
    ),
    "one class": (in_folders(lambda r: every_mask(r, lambda a: a * 0)), "every labelled pixel of every mask is 0"),
    "one class and none": (
        in_folders(lambda r: every_mask(r, lambda a: np.where(a > 0, 255, 7).astype(np.uint8))),
        "",  # two values, 7 and 255: two classes, which the notes tell
    ),
    "more classes than names": (
        in_folders(lambda r: resave(first(r, "masks"), lambda a: np.where(a == 1, 3, a).astype(np.uint8))),
        r"3 classes are named, and .*photo 00 é\.png has the value 3, which makes 4: name them all by --classes",
    ),
    "fractions": (
        in_folders(
            lambda r: Image.fromarray(PAIRS[0][1].astype("float32")).save(first(r, "masks").with_suffix(".tiff"))
        ),
        "belong to the same image or are the same twice",
    ),
    "two folders of masks": (in_folders(twice), r"belong to the same image or are the same twice; answer with"),
    "a list of files that are not there": (
        list_of("images/a.png masks/a.png\n"),
        r"train\.txt: lists .*images/a\.png, which does not exist; put it there or take the line out",
    ),
    "class file with a gap": (
        in_folders(lambda r: (r / "labelmap.txt").write_text("background:0,0,0::\nbox 1 2 3\n")),
        r"labelmap\.txt:2: 'box 1 2 3' names no class",
    ),
    "class file with a name twice": (
        in_folders(lambda r: (r / "classes.txt").write_text("a\nb\na\n")),
        r"classes\.txt:3: the class 'a' is there twice",
    ),
    "a mask in a colour of no class": (
        lambda r: (
            own_data.cvat(r),
            resave(first(r, "SegmentationClass"), lambda a: np.where(a == 30, 31, a).astype(np.uint8)),
        )[0],
        r"the mask has the colour \d+,\d+,\d+, which is no class's; add it to --colors, or leave it out with --ignore",
    ),
    "VOC list of an image that is not there": (
        lambda r: (own_data.voc(r), (r / "ImageSets/Segmentation/val.txt").write_text("ghost\n"))[0],
        r"ImageSets/Segmentation: lists ghost, which JPEGImages does not have",
    ),
    "JSON cut short": (
        lambda r: (own_data.labelme(r), first(r, ".").with_suffix(".json").write_text('{"shapes": ['))[0],
        r"photo 00 é\.json: is no JSON",
    ),
    "labelme without its image": (
        edited(own_data.labelme, lambda c: c.update(imagePath="gone.png")),
        r"photo 00 é\.json: its image gone\.png is not there; put it beside the JSON file",
    ),
    "labelme polygon of two points": (
        edited(
            own_data.labelme,
            lambda c: c.update(shapes=[{"label": "box", "points": [[1, 1], [2, 2]], "shape_type": "polygon"}]),
        ),
        r"photo 00 é\.json: shape 0 cannot be drawn \(a polygon of 2 points\)",
    ),
    "labelme class without a name": (
        edited(own_data.labelme, lambda c: c["shapes"][0].update(label="bax")),
        "shapes are called bax, which --classes does not name; add them",
    ),
    "labelme unknown shape": (
        edited(own_data.labelme, lambda c: c["shapes"][0].update(shape_type="spiral")),
        r"shape 0 cannot be drawn \(shape_type 'spiral'\)",
    ),
    "COCO without its image": (
        edited(own_data.coco, lambda c: c["images"][0].update(file_name="gone.png")),
        r"instances\.json: its image 'gone\.png' is not below .*; put it there",
    ),
    "COCO of other images": (
        edited(own_data.coco, lambda c: c["images"][0].update(height=10)),
        r"instances\.json: says that an image is 64x10, and it is 64x48",
    ),
    "COCO category of nobody": (
        edited(own_data.coco, lambda c: c["annotations"][0].update(category_id=99)),
        r"instances\.json: annotation 0 has category 99, which is none",
    ),
    "COCO annotation of nobody": (
        edited(own_data.coco, lambda c: c["annotations"][0].update(image_id=99)),
        r"instances\.json: annotations belong to image 99, which is not among its images",
    ),
    "COCO boxes alone": (
        edited(own_data.coco, lambda c: c["annotations"][0].update(segmentation=[])),
        r"instances\.json: annotation 0 cannot be drawn \(its polygon has fewer than three points; boxes alone",
    ),
    "COCO run lengths of another size": (
        edited(own_data.coco, lambda c: c["annotations"][0]["segmentation"].update(size=[10, 10])),
        r"instances\.json: annotation 0 cannot be drawn",
    ),
    "COCO category without a name": (
        edited(own_data.coco, lambda c: c["categories"][0].pop("name")),
        r"instances\.json: the category \{'id': 7\} has no id or no name",
    ),
    "Label Studio without images": (
        lambda r: (own_data.label_studio(r), [p.rename(p.with_name(f"x{p.name}")) for p in r.glob("task-?.png")])[0],
        r"no image is called \d+ or task-\d+; rename the images by their tasks, or export as COCO",
    ),
    "numbers of objects": (
        in_folders(lambda r: Image.fromarray(PAIRS[0][1].astype("uint16") * 1000).save(first(r, "masks"))),
        r"photo 00 é\.png: the mask has the value 1000; classes are 0 to 255, and numbers of single objects are no",
    ),
    "class file in another encoding": (
        in_folders(lambda r: (r / "classes.txt").write_bytes("straße\nauto\nhaus\n".encode("latin-1"))),
        r"classes\.txt: cannot be read",
    ),
    "class file of fewer classes": (
        in_folders(lambda r: (r / "classes.txt").write_text("background\nbox\n")),
        r"2 classes are named, and .*photo 00 é\.png has the value 2, which makes 3",
    ),
    "empty JSON": (
        lambda r: (own_data.coco(r), (r / "annotations" / "instances.json").write_text(""))[0],
        r"instances\.json: is no JSON",
    ),
    "a link in a circle": (
        in_folders(lambda r: (r / "images" / "again").symlink_to(r, target_is_directory=True)),
        "",  # each folder is looked at once
    ),
    "a dangling link": (
        in_folders(
            lambda r: (
                first(r, "masks").unlink(),
                sorted((r / "images").iterdir())[0].with_name("l.png").symlink_to("gone.png"),
            )[0]
        ),
        "",  # the link is no image; the photo without a mask is said to have none
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_said_in_a_line(case: str, tmp_path: Path) -> None:
    spoil, message = BROKEN[case]
    root, output = tmp_path / "data", tmp_path / "out"
    spoil(root)
    if not message:
        assert prepared(root, output, Answers())[1]
        return
    with pytest.raises(UserError, match=message) as error:
        prepared(root, output, Answers() if "class file" in case else NAMED)
    assert "\n" not in str(error.value) and not list(output.glob("*.txt"))


def test_many_faults_are_counted(tmp_path: Path) -> None:
    own_data.folders(tmp_path / "a")
    for path in (tmp_path / "a" / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"12 images have faults:\n(.*\n){3}  and 9 more"):
        prepared(tmp_path / "a", tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_mask(tmp_path: Path) -> None:
    own_data.folders(tmp_path / "a")
    first(tmp_path / "a", "masks").chmod(0)
    with pytest.raises(UserError, match="the mask cannot be read"):
        prepared(tmp_path / "a", tmp_path / "out")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_data.labelme(tmp_path / "a")
    saved, left = Image.Image.save, iter(range(5))

    def save(self: Image.Image, *args: object, **kwargs: object) -> None:
        saved(self, *args, **kwargs)
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(Unwritable, match=r"labels/.*\.png: cannot be written \(No space left on device\)"):
        prepared(tmp_path / "a", tmp_path / "out", Answers())
    written = list((tmp_path / "out" / "labels").iterdir())
    assert all(path.suffix == ".png" and not path.name.startswith(".") for path in written)
    for path in written:
        Image.open(path).load()
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in written}
    assert len(prepared(tmp_path / "a", tmp_path / "out", Answers())[1]) == COUNT
    kept = [path for path in written if path.stat().st_mtime_ns == before[path]]
    assert kept, "what was done is not done again"


def test_a_second_call_draws_what_has_changed_alone(tmp_path: Path) -> None:
    own_data.labelme(tmp_path / "a")
    _, records = prepared(tmp_path / "a", tmp_path / "out", Answers())
    before = {record.image: Path(str(record.label)).stat().st_mtime_ns for record in records}
    changed = sorted((tmp_path / "a").glob("*.json"))[0]
    content = json.loads(changed.read_text())
    content["shapes"] = content["shapes"][:1]
    changed.write_text(json.dumps(content))
    (tmp_path / "out" / preparing.NOTES).open("a").write('{"image": "cut sh')  # as a kill leaves it
    _, again = prepared(tmp_path / "a", tmp_path / "out", Answers())
    drawn = [r.image for r in again if Path(str(r.label)).stat().st_mtime_ns != before[r.image]]
    assert drawn == [str(changed.with_suffix(".png"))]
    assert again[0].pixels[2] == 0


# Beside the data sets' own classes


def own(records: list[Record], split: str, source: Source, folder: Path) -> OwnData:
    path = folder / f"{split}.txt"
    pairs = [(Path(r.image), Path(str(r.label))) for r in records if r.split == split]
    path.write_text(write_list(path, pairs), encoding="utf-8")
    return OwnData(split, [], str(path), len(source.names), source.relabel)


@pytest.mark.parametrize("name", ["camvid", "cityscapes"])
def test_real_data_is_as_its_own_class_has_it(name: str, shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / name
    if not root.is_dir():
        pytest.skip(f"no {root}")
    theirs = CamVid if name == "camvid" else CityscapesFine
    source, records = prepared(root, tmp_path / "out", Answers())
    for split in ("train", "val"):
        mine, known = own(records, split, source, tmp_path / "out"), theirs(split, [], str(root))
        assert [tuple(map(os.path.realpath, pair)) for pair in mine.file_list] == [
            tuple(map(os.path.realpath, pair)) for pair in known.file_list
        ]
        for index in range(0, len(known), max(1, len(known) // 3)):
            assert np.array_equal(mine[index]["label"], known[index]["label"])
            assert np.array_equal(mine[index]["img"], known[index]["img"])
    if name == "cityscapes":
        ids = layouts.cityscapes.find(_with_ids_alone(root, tmp_path / "ids"), Answers())
        assert ids is not None and "labelIds" in ids.layout
        for item, r in zip(ids.items, records):
            assert item.label is not None
            assert np.array_equal(item.label.draw(r.height, r.width), np.asarray(Image.open(str(r.label))))


def _with_ids_alone(root: Path, target: Path) -> Path:
    shutil.copytree(root / "leftImg8bit", target / "leftImg8bit", copy_function=os.symlink)
    shutil.copytree(
        root / "gtFine", target / "gtFine", copy_function=os.symlink, ignore=shutil.ignore_patterns("*TrainIds*")
    )
    return target
