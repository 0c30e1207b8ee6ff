"""Real `hrfamily train` and `hrfamily val` processes on a tiny data set, and what they say about mistakes."""

from __future__ import annotations

import argparse
import hashlib
import json
import re

import paddle
import pytest

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.checkpointing import snapshot
from paddle_hrfamily.commands import train, val
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights import load_weights, read
from paddle_hrfamily.zoo import create_model
from tests import tiny

pytestmark = pytest.mark.line

# Every flag of PaddleSeg 2.8.0's tools, with type and default.
TRAIN_FLAGS = {
    "config": (str, None),
    "device": (str, "gpu"),
    "save_dir": (str, "./output"),
    "num_workers": (int, 0),
    "do_eval": (bool, False),
    "use_vdl": (bool, False),
    "use_ema": (bool, False),
    "resume_model": (str, None),
    "iters": (int, None),
    "batch_size": (int, None),
    "learning_rate": (float, None),
    "save_interval": (int, 1000),
    "log_iters": (int, 10),
    "keep_checkpoint_max": (int, 5),
    "seed": (int, None),
    "precision": (str, "fp32"),
    "amp_level": (str, "O1"),
    "profiler_options": (str, None),
    "data_format": (str, "NCHW"),
    "repeats": (int, 1),
    "opts": (list, None),
}
VAL_FLAGS = {
    "config": (str, None),
    "model_path": (str, None),
    "num_workers": (int, 0),
    "device": (str, "gpu"),
    "aug_eval": (bool, False),
    "scales": (list, 1.0),
    "flip_horizontal": (bool, False),
    "flip_vertical": (bool, False),
    "is_slide": (bool, False),
    "crop_size": (list, None),
    "stride": (list, None),
    "data_format": (str, "NCHW"),
    "auc_roc": (bool, False),
    "opts": (list, None),
}
VALUES = {str: ["cpu"], int: ["3"], float: ["0.5"], list: ["1", "2"], bool: []}
SPECIAL = {"precision": ["fp16"], "amp_level": ["O2"], "data_format": ["NHWC"], "auc_roc": ["True"]}


def parser_of(module) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser


@pytest.mark.parametrize(("module", "flags"), [(train, TRAIN_FLAGS), (val, VAL_FLAGS)])
def test_the_flags_are_paddlesegs(module, flags):
    parser = parser_of(module)
    defaults = vars(parser.parse_args([]))
    for name, (kind, default) in flags.items():
        assert defaults[name] == default
        given = getattr(parser.parse_args([f"--{name}", *SPECIAL.get(name, VALUES[kind])]), name)
        assert isinstance(given, kind), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One training run with everything on: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny.config(folder, iters=10)
    flags = ["--do_eval", "--use_vdl", "--use_ema", "--save_interval", 4, "--log_iters", 2, "--keep_checkpoint_max", 2]
    done = tiny.run("train", "--config", config, "--save_dir", folder / "out", "--device", "cpu", "--seed", 3, *flags)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_training_writes_checkpoints_a_log_and_the_best(trained):
    folder, printed = trained
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"iter_8", "iter_10", "best_model", "ema_best_model"} <= names
    assert "iter_4" not in names, "keep_checkpoint_max is 2"
    assert any(name.startswith("vdlrecords") for name in names)
    assert sorted(tiny.losses(printed)) == [2, 4, 6, 8, 10]
    assert "train labels: 7 checked" in printed
    state = json.loads((folder / "out/iter_10/state.json").read_text())
    assert (state["iteration"], state["seed"]) == (10, 3)
    iteration, score = state["best"]["best_model"]
    assert f"best validation mIoU {score:.4f} at iteration {iteration}" in printed


def test_evaluating_the_best_gives_what_training_printed(trained, capsys):
    folder, printed = trained
    weights = folder / "out/best_model/model.pdparams"
    options = ["--config", str(folder / "config.yml"), "--device", "cpu", "--json", str(folder / "scores.json")]
    assert main(["val", *options, "--model_path", str(weights)]) == 0
    content = json.loads((folder / "scores.json").read_text())
    best = re.findall(r"best validation mIoU (\S+) at", printed)[-1]
    assert f"{content['miou']:.4f}" == best
    assert [entry["name"] for entry in content["classes"]] == list(tiny.CLASSES)
    assert content["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert content["val_dataset"]["transforms"] == [{"type": "Normalize"}]
    assert content["images"] == 7
    assert "| road" in capsys.readouterr().out


def test_several_scales_and_windows_evaluate(trained):
    folder, _ = trained
    common = ["--config", str(folder / "config.yml"), "--device", "cpu", "--model_path", str(folder / "out/iter_10")]
    augmented = ["--aug_eval", "--scales", "0.75", "1.0", "--flip_horizontal"]
    window = ["--is_slide", "--crop_size", "32", "32", "--stride", "16", "16"]
    assert main(["val", *common, *augmented, *window, "--json", str(folder / "more.json")]) == 0
    inference = json.loads((folder / "more.json").read_text())["inference"]
    assert (inference["scales"], inference["crop_size"], inference["flip_horizontal"]) == ([0.75, 1.0], [32, 32], True)


def test_a_finished_run_has_nothing_left_to_do(trained, capsys):
    folder, _ = trained
    options = ["--config", str(folder / "config.yml"), "--save_dir", str(folder / "out"), "--resume_model", "latest"]
    assert main(["train", *options]) == 0
    assert "Nothing left to train" in capsys.readouterr().out


MISTAKES = {
    "config": (["--config", "absent.yml"], "absent.yml does not exist"),
    "option": (["--opts", "modle.num_classes=3"], "no key modle; did you mean model"),
    "component": (["--opts", "model.type=HRNetSog"], "did you mean HRNetSeg"),
    "data": (["--opts", "train_dataset.dataset_root=gone"], "train_dataset.dataset_root"),
    "labels": (["--opts", "train_dataset.num_classes=2", "val_dataset.num_classes=2", "model.num_classes=2"], "0..1"),
    "losses": (["--opts", "loss.coef=[1]"], "one type and coef for each output"),
    "batch": (["--batch_size", "8"], "too few for one batch"),
    "resume": (["--resume_model", "nowhere"], "--resume_model nowhere does not exist"),
    "zero": (["--save_interval", "0"], "0 is not a whole number from 1 up"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_end_with_one_reason(tmp_path, capsys, name):
    arguments, reason = MISTAKES[name]
    given = [] if "--config" in arguments else ["--config", str(tiny.config(tmp_path))]
    command = ["train", *given, *arguments, "--device", "cpu", "--save_dir", str(tmp_path / "out")]
    try:
        status = main(command)
    except SystemExit as exit_by_argparse:
        status = exit_by_argparse.code
    errors = capsys.readouterr().err
    assert status == 2, errors
    assert re.search(reason, errors)


def test_a_window_without_a_size_is_an_error(tmp_path, capsys):
    assert main(["val", "--config", str(tiny.config(tmp_path)), "--is_slide"]) == 2
    assert "--crop_size WIDTH HEIGHT" in capsys.readouterr().err


def test_a_diverged_run_keeps_its_last_checkpoint(tmp_path, capsys):
    """The loss is finite, and saved, until the learning rate has warmed up to a ridiculous value."""
    schedule = {"type": "PolynomialDecay", "learning_rate": 1e30, "warmup_iters": 4, "warmup_start_lr": 0.0}
    config = tiny.config(tmp_path, lr_scheduler=schedule)
    command = ["train", "--config", str(config), "--device", "cpu", "--save_dir", str(tmp_path / "out")]
    assert main([*command, "--save_interval", "1", "--log_iters", "1"]) == 2
    assert re.search(r"the loss is (nan|inf) at iteration [2-5];.*last whole checkpoint is", capsys.readouterr().err)
    last = next(state for _, state in snapshot.newest(tmp_path / "out"))
    content = read(tmp_path / "out" / f"iter_{last.iteration}" / "model.pdparams")
    assert last.iteration >= 1
    assert content


def test_two_runs_with_one_seed_are_the_same_and_another_differs(tmp_path, capsys):
    def losses(seed: int) -> dict[int, str]:
        options = ["--device", "cpu", "--iters", "4", "--log_iters", "1", "--seed", str(seed)]
        assert main(["train", "--config", str(config), *options, "--save_dir", str(tmp_path / "out")]) == 0
        return tiny.losses(capsys.readouterr().out)

    config = tiny.config(tmp_path)
    assert losses(1) == losses(1) != losses(2)


@pytest.fixture(scope="module")
def padded_run(tmp_path_factory):
    """Two iterations of an HRNet that pads as PaddleSeg's does, and two more after a resume."""
    folder = tmp_path_factory.mktemp("padded")
    backbone = {"type": "HRNet", "variant": "W18_Small_V1", "padding": "same"}
    loss = {"types": [{"type": "CrossEntropyLoss"}], "coef": [1]}
    config = tiny.config(folder, model={"type": "HRNetSeg", "num_classes": 3, "backbone": backbone}, loss=loss)
    for iters in (2, 4):
        arguments = ("--iters", str(iters), "--save_interval", "2", "--resume_model", "latest", "--device", "cpu")
        save_dir = ("--save_dir", str(folder / "output"))
        assert main(["train", "--config", str(config), *arguments, *save_dir]) == 0
    return folder / "output" / "iter_4" / "model.pdparams"


def test_a_trained_network_remembers_its_padding(padded_run):
    load_weights(create_model("hrnet_w18_small_v1", num_classes=3, padding="same"), padded_run)
    with pytest.raises(UserError, match="trained with padding 'same'"):
        load_weights(create_model("hrnet_w18_small_v1", num_classes=3), padded_run)


def test_paddle_itself_reads_what_training_saves(padded_run):
    model = create_model("hrnet_w18_small_v1", num_classes=3, padding="same")
    missing, unexpected = model.set_state_dict(paddle.load(str(padded_run)))
    assert not missing
    assert unexpected == ["padding@@"]
