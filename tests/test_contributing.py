"""The recipes of CONTRIBUTING.md: each is one file, and what it registers trains, loads and is listed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from paddle_hrfamily import registry
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, plugins, registration
from paddle_hrfamily.patching import core_module
from paddle_hrfamily.registry import Registry
from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.weights.layouts import LAYOUTS
from paddle_hrfamily.zoo import create_model, list_models
from tests import tiny

DOCUMENT = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
SIZE = (64, 48)  # width, height
TRANSFORMS = [{"type": "Normalize"}]
SCENES = {"type": "StreetScenes", "size": list(SIZE), "train": 2, "val": 1, "transforms": TRANSFORMS}
BASE = {
    "batch_size": 2,
    "iters": 1,
    "train_dataset": {**SCENES, "mode": "train"},
    "val_dataset": {**SCENES, "mode": "val"},
    "optimizer": {"type": "SGD"},
    "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01},
    "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1]},
    "model": {"type": "HRNetSeg", "backbone": {"type": "HRNet", "variant": "W18_Small_V1"}},
}


@dataclass(frozen=True)
class Recipe:
    code: str
    config: dict[str, object]  # what a config says to use it


def recipes() -> dict[str, Recipe]:
    """The sections with code, by their headings."""
    found = {}
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n### ")[1:]:
        blocks = dict(re.findall(r"```(python|yaml)\n(.*?)```", section, re.DOTALL))
        if "python" in blocks:
            heading = section.splitlines()[0]
            found[heading] = Recipe(blocks["python"], yaml.safe_load(blocks.get("yaml", "{}")))
    return found


RECIPES = recipes()


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a recipe registers is gone after its test, in PaddleSeg's managers too."""
    from paddleseg.cvlibs import manager

    registration.register()
    restore = registry.snapshot()
    for components in (manager.BACKBONES, manager.MODELS, manager.DATASETS, manager.LOSSES, manager.TRANSFORMS):
        monkeypatch.setattr(components, "_components_dict", dict(components.components_dict))
    monkeypatch.setattr(plugins, "_loaded", set(plugins._loaded))
    yield
    restore()


def plugin(folder: Path, recipe: Recipe) -> Path:
    """The recipe's file, alone in a folder of its own."""
    place = folder / "plugin"
    place.mkdir()
    (place / "recipe.py").write_text(recipe.code)
    (file,) = place.iterdir()
    return file


def config(folder: Path, recipe: Recipe) -> Path:
    """A config that uses the recipe, with its data set drawn or written."""
    content = {**BASE, **recipe.config}
    for section in ("train_dataset", "val_dataset"):
        root = folder / Path(str(content[section].get("dataset_root", "scenes")))
        content[section] = {**content[section], "dataset_root": str(root)}
    if content["train_dataset"]["type"] != "StreetScenes":
        pairs(Path(content["train_dataset"]["dataset_root"]) / "train")
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def pairs(folder: Path) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(2):
        label = rng.integers(0, 3, SIZE[::-1]).astype(np.uint8)
        Image.fromarray(label).save(folder / f"{index}.png")
        Image.fromarray(np.stack([label * 80] * 3, -1)).save(folder / f"{index}.jpg")


def test_each_kind_of_component_has_a_recipe() -> None:
    kinds = {"Backbone", "Head", "Model", "Data set", "Loss", "Weight layout"}
    assert kinds <= set(RECIPES)
    for name in kinds:
        lines = [line for line in RECIPES[name].code.splitlines() if line and not line.startswith(("import", "from"))]
        assert 5 <= len(lines) <= 16, name


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.config])
def test_a_recipe_trains_a_step(tmp_path: Path, name: str) -> None:
    plugins.load([str(plugin(tmp_path, RECIPES[name]))])
    settings = config_file.load(config(tmp_path, RECIPES[name]))
    built = config_file.builder(settings)
    samples = [built.train_dataset[index] for index in range(2)]
    assert len(built.train_dataset) == 2
    image, label = (np.stack([sample[key] for sample in samples]) for key in ("img", "label"))
    model, optimizer = built.model, built.optimizer
    weights = [parameter for parameter in model.parameters() if parameter.trainable]
    before = [parameter.numpy().copy() for parameter in weights]
    model.train()
    outputs = model(paddle.to_tensor(image))
    labels = paddle.to_tensor(label.astype("int64"))
    losses = core_module("train").loss_computation(logits_list=outputs, labels=labels, edges=None, losses=built.loss)
    sum(losses).backward()
    assert all(np.isfinite(float(loss)) for loss in losses)
    optimizer.step()
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(before, weights)]
    assert sum(moved) > 0.8 * len(moved)  # a head on the finest feature leaves the ends of the others alone
    model.eval()
    assert model(paddle.to_tensor(image))[0].shape == [2, built.train_dataset.num_classes, *SIZE[::-1]]


ZOO = {
    "Backbone": {"mynet_tiny", "mynet_base", "mynet_tiny_ocr", "mynet_base_ocr"},
    "Head": {"hrnet_w18_plain", "hrnet_w64_plain"},
    "Model": {"tinyseg"},
}


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_has_what_a_recipe_says(tmp_path: Path, name: str) -> None:
    before = list_models()
    plugins.load([str(plugin(tmp_path, RECIPES[name]))])
    assert list_models()[: len(before)] == before or name != "Model"
    assert set(list_models()) - set(before) >= ZOO[name]
    model = create_model(min(ZOO[name]), num_classes=4)
    model.eval()
    assert model(paddle.zeros([1, 3, 64, 96]))[0].shape == [1, 4, 64, 96]


def test_a_layout_reads_other_names(tmp_path: Path) -> None:
    source, target = (create_model("hrnet_w18_small_v1", num_classes=4) for _ in range(2))
    theirs = {}
    for name, tensor in source.backbone.state_dict().items():
        path, _, leaf = name.rpartition(".")
        theirs[f"encoder.{re.sub('conv$', '0', re.sub('bn$', '1', path))}.{leaf}"] = tensor.numpy()
    with pytest.raises(UserError, match="of no known layout"):
        load_weights(target, theirs, part="backbone")
    plugins.load([str(plugin(tmp_path, RECIPES["Weight layout"]))])
    report = load_weights(target, theirs, part="backbone")
    assert (report.layout, report.padding, len(report.matched)) == ("my lab's HRNet", "symmetric", len(theirs))
    for name, tensor in source.backbone.state_dict().items():
        np.testing.assert_array_equal(target.backbone.state_dict()[name].numpy(), tensor.numpy())


def test_classes_of_a_dataset_are_named(tmp_path: Path) -> None:
    from paddle_hrfamily.data.classes import class_table

    plugins.load([str(plugin(tmp_path, RECIPES["Data set"]))])
    table = class_table({"train_dataset": {"type": "Driveway"}})
    assert table.names == ("sky", "road", "car") and table.colors[2] == (0, 0, 142)


def test_the_list_shows_a_plug_in(tmp_path: Path) -> None:
    done = tiny.run("list", "mynet_*", "--plugin", plugin(tmp_path, RECIPES["Backbone"]), "--size", 64, 64)
    assert re.search(r"mynet_base_ocr +OCRSeg, MyNet base +[\d.]+ +[\d.]+  64x64", done.stdout), done.stderr


def test_the_command_line_trains_a_plug_in(tmp_path: Path) -> None:
    recipe = RECIPES["Backbone"]
    file = plugin(tmp_path, recipe)
    options = ("--config", config(tmp_path, recipe), "--device", "cpu", "--save_dir", tmp_path / "run")
    done = tiny.run("train", *options, "--plugin", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "iter_1" / "model.pdparams").is_file()
    without = tiny.run("train", *options, cwd=tmp_path)
    assert without.returncode == 2 and "no component is called 'MyNet'" in without.stderr


def test_an_installed_plug_in_needs_no_flag(tmp_path: Path) -> None:
    """An entry point, as pip writes it beside an installed module."""
    (tmp_path / "mynet.py").write_text(RECIPES["Backbone"].code)
    information = tmp_path / "mynet-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mynet\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[paddle_hrfamily.plugins]\nmynet = mynet\n")
    code = "import paddle_hrfamily as hrf; print(*hrf.list_models('mynet*'))"
    environment = tiny.environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["mynet_tiny", "mynet_base", "mynet_tiny_ocr", "mynet_base_ocr"]


BROKEN = {
    "import nowhere_to_be_found": r"ModuleNotFoundError: No module named 'nowhere_to_be_found' \(.*recipe.py:1\)",
    "def f(:": "line 1: invalid syntax",
    RECIPES["Backbone"].code.replace("MyNet", "HRNet"): "backbone 'HRNet' is registered twice: as paddle_hrfamily.*",
    RECIPES["Backbone"].code.replace("MyNet", "ResNet50_vd"): "ResNet50_vd is already registered among PaddleSeg's",
    RECIPES["Backbone"].code.replace('zoo="mynet"', 'zoo="hrnet"').replace("tiny", "w18"): "two models 'hrnet_w18'",
    RECIPES["Head"].code.replace("PlainHead", "OCRHead"): "head 'OCRHead' is registered twice",
    RECIPES["Weight layout"].code.replace("my lab's HRNet", "official HRNet"): "weight layout 'official HRNet' is",
}


def names() -> list[list[str]]:
    return [list(components) for components in (*vars(registry).values(), LAYOUTS) if isinstance(components, Registry)]


@pytest.mark.parametrize("code", BROKEN)
def test_a_plug_in_that_fails_says_why_in_one_line_and_leaves_nothing(tmp_path: Path, code: str) -> None:
    file = plugin(tmp_path, Recipe(code, {}))
    before = names()
    models = list_models()
    with pytest.raises(UserError, match=f"plug-in .*recipe.py: .*{BROKEN[code]}") as raised:
        plugins.load([str(file)])
    assert "\n" not in str(raised.value)
    assert names() == before
    assert list_models() == models


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere.to.be.found"])
def test_a_plug_in_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=rf"plug-in .*{name}: there is no such (file|module); name a Python file"):
        plugins.load([name])


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    file = plugin(tmp_path, RECIPES["Model"])
    plugins.load([str(file)])
    plugins.load([str(file), os.path.relpath(file)])
    assert list_models("tinyseg") == ["tinyseg"]
