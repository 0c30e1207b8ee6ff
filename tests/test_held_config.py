"""Weights that know themselves: checkpoints and exported folders hold their config; commands do without --config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paddle
import pytest
import yaml

from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, held_config, registration
from paddle_hrfamily.weights import load_weights, read, save
from paddle_hrfamily.zoo import create_model
from tests import tiny

registration.register()
COLORS = {"sky": [1, 2, 3], "road": [4, 5, 6], "car": [7, 8, 9]}
HOLDERS = ("iter_1", "iter_2", "best_model", "ema_best_model")


def run(command: str, *arguments: object) -> int:
    return run_command(command, [*map(str, arguments), "--device", "cpu"], prog=f"hrfamily {command}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, config.yml, which names its classes once, and output/, of a real training of two steps."""
    folder = tmp_path_factory.mktemp("held")
    base = yaml.safe_load(tiny.config(folder).read_text())
    del base["class_names"]
    for section in ("model", "train_dataset", "val_dataset"):
        del base[section]["num_classes"]
    (folder / "config.yml").write_text(yaml.safe_dump({**base, "classes": COLORS}, sort_keys=False))
    flags = ("--iters", 2, "--save_interval", 1, "--do_eval", "--use_ema", "--save_dir", folder / "output")
    assert run("train", "--config", folder / "config.yml", *flags) == 0
    return folder


@pytest.mark.parametrize("name", HOLDERS)
def test_every_folder_of_weights_holds_the_whole_config(trained: Path, name: str) -> None:
    folder = trained / "output" / name
    held = config_file.load(held_config.beside(folder))
    given = config_file.load(trained / "config.yml", iters=2)
    assert config_file.resolved(held) == config_file.resolved(given)
    assert dict(zip(class_table(held.dic).names, map(list, class_table(held.dic).colors))) == COLORS
    parameters = folder / ("ema_model.pdparams" if "ema" in name else "model.pdparams")
    assert held_config.beside(parameters) == held_config.beside(folder) == folder / "config.yml"


def test_so_do_those_of_paddlesegs_loop(trained: Path, tmp_path: Path) -> None:
    flags = ("--iters", 1, "--save_dir", tmp_path, "--loop", "paddleseg")
    (tmp_path / "iter_1").mkdir()
    (tmp_path / "iter_1" / "config.yml").write_text("of an earlier run")
    assert run("train", "--config", trained / "config.yml", *flags) == 0
    held = config_file.load(held_config.beside(tmp_path / "iter_1"))
    assert config_file.resolved(held) == config_file.resolved(config_file.load(trained / "config.yml", iters=1))


def test_a_config_is_read_back_as_it_was_described(tmp_path: Path) -> None:
    for name in ("quickstart", "hrnet_w48_ade20k", "uhrnet_w48_synapse", "hrnet_w48_nyuv2", "spgnet_r18_camvid"):
        content = held_config.described(config_file.load(f"{name}.yml"))
        (tmp_path / "config.yml").write_text(yaml.safe_dump(content, sort_keys=False))
        assert held_config.described(config_file.load(tmp_path / "config.yml")) == content
        assert "class_names" in content


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    """`relabel: {255: 1}` has a key that is no text, and an option of several values is a tuple."""
    config = config_file.load(
        tiny.config(tmp_path), opts=["test_config={'scales': (0.5, 1.0)}", "train_dataset.relabel={255: 1}"]
    )
    content = config_file.resolved(config)
    assert content["test_config"] == {"scales": [0.5, 1.0]} and content["train_dataset"]["relabel"] == {255: 1}
    assert yaml.safe_load(yaml.safe_dump(content)) == content


def test_every_command_does_without_a_config(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    best = trained / "output" / "best_model"
    monkeypatch.chdir(tmp_path)
    assert run("val", "--model_path", best, "--json", "own.json") == 0
    assert (
        run("val", "--model_path", best / "model.pdparams", "--config", trained / "config.yml", "--json", "b.json") == 0
    )
    own, named = (json.loads(Path(name).read_text()) for name in ("own.json", "b.json"))
    assert own["miou"] == named["miou"] and [item["name"] for item in own["classes"]] == list(COLORS)
    assert own["config"] == str(best / "config.yml")
    assert run("predict", "--model_path", trained / "output", "--image_path", trained / "data/0.jpg") == 0
    assert run("compare", "--run", trained / "output", "--run", trained / "output/iter_1", "--width", 50) == 0
    assert "output, output iter_1" in capsys.readouterr().out


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    flags = ["--model_path", str(trained / "output/best_model"), "--save_dir", str(trained / "exported")]
    assert run_command("export", [*flags, "--input_shape", "1", "3", "32", "32"], prog="hrfamily export") == 0
    return trained / "exported"


def test_an_exported_folder_holds_the_config(exported: Path, trained: Path, capsys: pytest.CaptureFixture) -> None:
    held = held_config.beside(exported)
    assert held == exported / "config.yml"
    assert held.read_bytes() == (trained / "output/best_model/config.yml").read_bytes()
    assert run("predict", "--model_path", exported, "--image_path", trained / "data/0.jpg") == 2
    assert "is an exported network, which `hrfamily infer` and `serve` run" in capsys.readouterr().err


def test_verify_sees_an_export_of_another_network(
    exported: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = shutil.copytree(exported, tmp_path / "exported")
    content = yaml.safe_load((folder / "config.yml").read_text())
    (folder / "config.yml").write_text(
        yaml.safe_dump({**content, "model": {"type": "BiSeNetV2", "num_classes": 3}}, sort_keys=False)
    )
    flags = ("--model_path", trained / "output/best_model", "--folder", folder, "--images", trained / "data/0.jpg")
    assert run("verify", *flags) == 2
    assert "model.type is 'FastSCNN' and 'BiSeNetV2'; export these weights again" in capsys.readouterr().err


def rename(config: dict[str, Any]) -> None:
    config["classes"] = {"sky": [1, 2, 3], "street": [4, 5, 6], "car": [7, 8, 9]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["model"].update(type="BiSeNetV2"), "model.type is 'BiSeNetV2' and 'FastSCNN'"),
        (lambda c: c["model"].update(align_corners=True), "model.align_corners is True and False"),
        (
            lambda c: c["classes"].update(bike=[0, 0, 0]),
            "model.num_classes is 4 and 3, the number of classes is 4 and 3",
        ),
        (rename, "class 1 is 'street' and 'road'"),
    ],
)
def test_a_contradiction_shows_both(trained: Path, tmp_path: Path, change: Callable, says: str) -> None:
    with pytest.raises(UserError) as raised:
        held_config.load(changed(trained, tmp_path, change), trained / "output/best_model")
    message = str(raised.value)
    assert says in message and str(trained / "output/best_model/config.yml") in message and "\n" not in message
    assert f"--config {tmp_path / 'other.yml'}" in message


def other_data(config: dict[str, Any]) -> None:
    config["val_dataset"]["dataset_root"] = "elsewhere"
    config.update(batch_size=1, iters=9, lr_scheduler={"type": "PolynomialDecay", "learning_rate": 0.5})


def unnamed(config: dict[str, Any]) -> None:
    del config["classes"]
    for section in ("model", "train_dataset", "val_dataset"):
        config[section]["num_classes"] = 3


@pytest.mark.parametrize(
    "change",
    [
        other_data,
        unnamed,
        lambda c: c["model"].update(align_corners=False),  # what the constructor takes anyway
        lambda c: c["model"].update(pretrained="elsewhere.pdparams"),
        lambda c: c["classes"].update(sky=[9, 9, 9]),
    ],
)
def test_what_is_no_contradiction(trained: Path, tmp_path: Path, change: Callable) -> None:
    held_config.load(changed(trained, tmp_path, change), trained / "output/best_model")


def changed(trained: Path, folder: Path, change: Callable) -> Path:
    content = yaml.safe_load((trained / "config.yml").read_text())
    change(content)
    (folder / "other.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "other.yml"


def test_options_change_what_the_weights_hold(trained: Path) -> None:
    config = held_config.load(None, trained / "output", opts=["model.align_corners=True"])
    assert config.dic["model"]["align_corners"] is True


def test_weights_alone_are_as_before(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Those that were moved elsewhere, and checkpoints of earlier versions."""
    moved = shutil.copy(trained / "output/best_model/model.pdparams", tmp_path / "moved.pdparams")
    (tmp_path / "config.yml").write_text("somebody's: other")
    old = shutil.copytree(trained / "output/best_model", tmp_path / "old")
    (old / "config.yml").unlink()
    for weights in (moved, old):
        assert held_config.beside(weights) is None
        assert held_config.load(trained / "config.yml", weights).dic["model"]["type"] == "FastSCNN"
        assert run("val", "--model_path", weights) == 2
        assert f"--config FILE is missing, and {weights} holds none" in capsys.readouterr().err
        assert run("compare", "--run", weights) == 2
        assert f"write --run CONFIG {weights}" in capsys.readouterr().err
    assert held_config.beside(None) is held_config.beside("cityscapes") is None


def test_pretrained_takes_a_checkpoints_folder(trained: Path, tmp_path: Path) -> None:
    """Of PaddleSeg's models too, which know files alone."""
    file = trained / "output/best_model/model.pdparams"
    for folder in (file.parent, trained / "output"):
        config = config_file.load(trained / "config.yml", opts=[f"model.pretrained={folder}"])
        assert config.dic["model"]["pretrained"] == str(file)
    state = config_file.builder(config).model.state_dict()
    assert all((state[key].numpy() == value).all() for key, value in read(file).items())
    with pytest.raises(UserError, match=r"model\.pretrained: .* is a folder without model\.pdparams"):
        config_file.load(trained / "config.yml", opts=[f"model.pretrained={tmp_path}"])


def test_networks_take_a_checkpoints_folder(tmp_path: Path) -> None:
    paddle.seed(1)
    first = create_model("hrnet_w18_small_v1", 3)
    (tmp_path / "best_model").mkdir()
    save(first.state_dict(), tmp_path / "best_model" / "model.pdparams")
    second = create_model("hrnet_w18_small_v1", 3, pretrained=str(tmp_path / "best_model"))
    assert all((second.state_dict()[key].numpy() == value.numpy()).all() for key, value in first.state_dict().items())
    assert not load_weights(second, tmp_path).missing
