"""`hrfamily new`, as a newcomer types it: from a folder to a config that trains and serves, or one line why not."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.data.importing.preparing import Record
from paddle_hrfamily.integration import config_file, own_config, registration
from paddle_hrfamily.integration.own_config import Machine
from tests import own_data, tiny
from tests.own_data import LAYOUTS, NAMES, PAIRS

README = Path(__file__).resolve().parent.parent / "README.md"
GIB = 2**30


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registration.register()
    monkeypatch.chdir(tmp_path)


def new(*arguments: object) -> int:
    return main(["new", "my_data", *map(str, arguments)])


@pytest.mark.parametrize("layout", ["VOC", "labelme", "COCO", "folders, grey"])
def test_a_config_of_each_layout_builds(layout: str, capsys: pytest.CaptureFixture) -> None:
    write, names_classes, splits = LAYOUTS[layout]
    write(Path("my_data"))
    assert new("--model", "ddrnet_23_slim", *([] if names_classes else ["--classes", ",".join(NAMES)])) == 0
    said = capsys.readouterr().out
    assert "12 images with labels, 64x48" in said and "background" in said and "box" in said
    assert len(said.splitlines()) <= 6
    text = Path("my_data.yml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60 and text.count("box") == 1, "classes are named once"
    assert not re.search("num_classes", text)
    config = config_file.load("my_data.yml")
    assert class_table(config.dic).names == NAMES and config.dic["model"]["num_classes"] == 3
    config.dic["model"]["backbone"].pop("pretrained")
    builder = config_file.builder(config)
    assert builder.model.num_classes == 3
    data = {split: getattr(builder, f"{split}_dataset") for split in ("train", "val")}
    assert (len(data["train"]), len(data["val"])) == ((9, 3) if splits else (10, 2))
    assert data["train"][0]["img"].shape == (3, 64, 64) and data["val"][0]["img"].shape == (3, 48, 64)
    sheet = np.asarray(Image.open("my_data_prepared/contact_sheet.png"))
    assert sheet.shape[1] > 1000 and len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_label_maps_are_what_was_drawn() -> None:
    own_data.labelme(Path("my_data"))
    assert new("--pretrained", "none") == 0
    data = config_file.builder(config_file.load("my_data.yml")).val_dataset
    names = [Path(image).stem for image, _ in data.file_list]
    for index, stem in enumerate(names):
        expected = PAIRS[[own_data.name(number) for number in range(len(PAIRS))].index(stem)][1]
        assert np.array_equal(data[index]["label"][0], expected)


def test_black_and_white_masks_need_no_flag() -> None:
    own_data.folders(Path("my_data"), lambda label: Image.fromarray((label > 0).astype(np.uint8) * 255))
    assert new("--pretrained", "none") == 0
    config = config_file.load("my_data.yml")
    assert config.dic["train_dataset"]["relabel"] == {255: 1}
    assert class_table(config.dic).names == ("background", "foreground")
    data = config_file.builder(config).val_dataset
    assert set(np.unique(data[0]["label"])) == {0, 1}


def test_what_is_written_is_not_written_over(capsys: pytest.CaptureFixture) -> None:
    own_data.labelme(Path("my_data"))
    Path("my_data.yml").write_text("mine")
    assert new() == 2 and Path("my_data.yml").read_text() == "mine"
    assert (
        "my_data.yml is there already; name another with --output, or write over it with --force"
        in capsys.readouterr().err
    )
    assert new("--force", "--pretrained", "none") == 0 and Path("my_data.yml").read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ddrnet_23_slm"], "model 'ddrnet_23_slm'"),
        (["--model", "hrnet_w18_cls"], "--model hrnet_w18_cls does not segment"),
        (["--val_share", "1"], "--val_share 1.0: give a share between 0 and 1"),
        (["--folds", "1"], "--folds 1: give 2 or more"),
        (["--folds", "40"], "--folds 40: there are 12 groups of images"),
        (["--layout", "vok"], "layout 'vok'"),
        (["--layout", "voc"], "holds no data set in the layout voc"),
        (["--classes", "a,a"], "--classes a,a: give each class a name of its own"),
        (["--colors", "red"], "--colors red: write R,G,B of 0..255"),
        (["--group-by", "("], "--group-by '(' is no regular expression"),
        (["--output", "mine.txt"], "--output mine.txt: a config's name ends in .yml"),
        (["--batch_size", "0"], "--batch_size 0: give a whole number of 1 or more"),
        (["--pretrained", "imagenett"], "no weights 'imagenett' are published"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_config(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    own_data.labelme(Path("my_data"))
    assert new(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and "Traceback" not in said
    assert not list(Path().glob("*.yml"))


def test_folds_are_configs_of_their_own() -> None:
    own_data.labelme(Path("my_data"))
    assert new("--folds", 3, "--pretrained", "none", "--group-by", r"photo \d") == 2  # two groups alone
    assert new("--folds", 3, "--pretrained", "none") == 0
    recipes = {Path(f"my_data_fold{number}.yml").read_text(encoding="utf-8").partition("\n")[2] for number in range(3)}
    assert len({re.sub(r"fold\d", "", recipe) for recipe in recipes}) == 1, "folds are one recipe"
    validated: list[str] = []
    for number in range(3):
        config = yaml.safe_load(Path(f"my_data_fold{number}.yml").read_text(encoding="utf-8"))
        lists = [
            Path(config[f"{split}_dataset"]["list_path"]).read_text(encoding="utf-8").splitlines()
            for split in ("train", "val")
        ]
        assert len(lists[0]) == 8 and len(lists[1]) == 4 and not set(lists[0]) & set(lists[1])
        validated += lists[1]
    assert len(set(validated)) == 12


# What is chosen


def records(count: int, width: int = 640, height: int = 480, pixels: tuple[int, ...] = (100, 80, 0)) -> list[Record]:
    return [Record(f"/{n}.png", f"/l{n}.png", None, width, height, pixels, str(n), "") for n in range(count)]


def plan(*arguments: object, **options: object) -> own_config.Plan:
    return own_config.plan("ddrnet_23_slim", *arguments, pretrained="none", **options)  # type: ignore[arg-type]


def test_crop_and_batch_fit_images_and_memory() -> None:
    much = plan(records(500), 2, Machine("gpu", 80 * GIB))
    assert much.crop.value == (640, 480) and much.batch.value == 12
    little = plan(records(500), 2, Machine("gpu", 3 * GIB))
    assert 2 <= little.batch.value < 12 and "GiB" in little.batch.why
    large = plan(records(500, 4000, 3000), 2, Machine("cpu", 64 * GIB))
    assert large.crop.value == (512, 512) and large.batch.value == 4
    assert plan(records(3, 70, 50), 2, Machine("cpu", 64 * GIB)).crop.value == (64, 64)
    assert much.rate.value == 0.01 and large.rate.value == 0.0033


def test_the_estimate_of_memory_grows_as_it_should() -> None:
    small = own_config.training_memory("ddrnet_23_slim", 3, (256, 256))
    large = own_config.training_memory("ddrnet_23_slim", 3, (512, 512))
    assert small[0] == large[0] and large[1] == pytest.approx(4 * small[1], rel=0.05)
    # 1.10 GB were measured for four crops of 512x512 and 19 classes, beside Paddle's own 0.38 GB.
    fixed, each = own_config.training_memory("ddrnet_23_slim", 19, (512, 512))
    assert 0.73e9 < fixed + 4 * each < 2.2 * 1.1e9


def test_rare_classes_are_weighed() -> None:
    even = plan(records(10, pixels=(50, 40, 0)), 2, Machine("cpu", 8 * GIB))
    rare = plan(records(10, pixels=(990, 10, 0)), 2, Machine("cpu", 8 * GIB))
    assert not even.weighted.value and rare.weighted.value and "2.0% of an even share" in rare.weighted.why
    content = own_config.config(rare, {"train": "a", "val": "b"}, ("a", "b"), ((0, 0, 0), (1, 1, 1)), {})
    assert content["loss"]["types"][0]["weight"] == "auto"  # type: ignore[index]


@pytest.mark.parametrize(
    "name",
    [
        *("hrnet_w18_small_v1", "uhrnet_w18_small", "hrnet_w18_small_v1_ocr", "hrnet_w18_small_v1_specialize_fuse"),
        *("spgnet_r18", "ddrnet_39_1_5x"),
    ],
)
def test_a_config_of_every_kind_of_network_builds(name: str) -> None:
    own_data.labelme(Path("my_data"))
    assert new("--model", name, "--pretrained", "none", "--batch_size", 2) == 0
    config = config_file.load("my_data.yml")
    builder = config_file.builder(config)
    model, losses = builder.model, builder.loss
    if name != "hrnet_w18_small_v1_specialize_fuse":
        import paddle

        assert len(model(paddle.zeros([2, 3, 64, 64]))) == len(losses["coef"])


# From the folder to the answers, as README has it


def commands(heading: str) -> list[str]:
    section = README.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    assert block, f"README has no commands under {heading}"
    return [line for line in block[1].splitlines() if line.strip() and not line.startswith("#")]


# What keeps a test short, and off the network.
SHORT = {"new": ["--pretrained", "none"], "train": ["--iters", "4", "--batch_size", "2"]}


@pytest.mark.line
def test_readme_goes_from_a_folder_to_answers() -> None:
    own_data.labelme(Path("my_data"))
    for line in commands("Your own images"):
        program, command, *arguments = shlex.split(line.partition("  #")[0])
        assert program == "hrfamily"
        device = ["--device", "cpu"] if command in ("train", "val", "infer") else []
        done = tiny.run(command, *arguments, *SHORT.get(command, []), *device)
        assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
    described = yaml.safe_load(Path("exported/deploy.yaml").read_text(encoding="utf-8"))
    assert all(name in str(described) for name in NAMES)
    assert len(list(Path("answers").rglob("*.png"))) >= len(PAIRS)


@pytest.mark.parametrize("layout", ["VOC", "COCO"])
def test_two_commands_no_edit_and_a_log_that_can_be_read(layout: str) -> None:
    """The README's labelme walk goes on to answers; these two stop at the trained network, which knows its classes."""
    write, names_classes, _ = LAYOUTS[layout]
    write(Path("my_data"))
    if not names_classes:
        Path("my_data/classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    for command in ("new my_data --pretrained none", "train --config my_data.yml --do_eval --iters 20 --device cpu"):
        done = tiny.run(*command.split())
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert len(lines) <= 30, "\n".join(lines)
    assert class_table(config_file.load("output/best_model/config.yml").dic).names == NAMES
