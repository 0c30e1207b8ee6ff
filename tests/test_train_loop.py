"""The loop of `hrfamily train`: PaddleSeg's numbers, and what PaddleSeg's own loop does not have."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F
from paddleseg.models import FastSCNN
from paddleseg.models.losses import CrossEntropyLoss

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.checkpointing import snapshot
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file
from paddle_hrfamily.training import console, lr_finder, stopping, trackers
from paddle_hrfamily.weights import load_weights, read
from tests import tiny

pytestmark = pytest.mark.line


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.config(tmp_path_factory.mktemp("config"))


def train(config: Path, out: Path, *flags: object) -> int:
    common = ("--config", config, "--device", "cpu", "--seed", 1, "--log_iters", 1, "--save_dir", out)
    return main(["train", *map(str, (*common, *flags))])


def tensors(folder: Path) -> dict[str, np.ndarray]:
    files = [folder / name for name in ("model.pdparams", "ema_model.pdparams") if (folder / name).is_file()]
    found = {f"{file.name} {key}": value for file in files for key, value in read(file).items()}
    return {**found, **{f"optimizer {n}": value for n, value in enumerate(read(folder / "model.pdopt").values())}}


def same(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys() and len(first) > 50
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value, err_msg=key)


def curve(out: Path, name: str) -> dict[int, float]:
    lines = map(json.loads, (out / trackers._JSON).read_text().splitlines())
    return {line["iteration"]: line[name] for line in lines if name in line}


def test_both_loops_have_the_same_numbers(config, tmp_path, capsys):
    losses = {}
    for loop in ("hrfamily", "paddleseg"):
        flags = ("--iters", 5, "--save_interval", 3, "--do_eval", "--use_ema", "--loop", loop)
        assert train(config, tmp_path / loop, *flags) == 0
        losses[loop] = tiny.losses(capsys.readouterr().out)
    assert losses["hrfamily"] == losses["paddleseg"] and len(losses["hrfamily"]) == 5
    for folder in ("iter_3", "iter_5"):
        same(tmp_path / "paddleseg" / folder, tmp_path / "hrfamily" / folder)
    states = [json.loads((tmp_path / loop / "iter_5/state.json").read_text()) for loop in losses]
    assert states[0]["best"] == states[1]["best"]


def test_accumulated_steps_resume_exactly(config, tmp_path):
    flags = ("--batch_size", 1, "--accumulate", 3, "--save_interval", 2, "--opts", "lr_scheduler.decay_steps=4")
    assert train(config, tmp_path / "one", "--iters", 4, *flags) == 0
    assert train(config, tmp_path / "two", "--iters", 2, *flags) == 0
    assert train(config, tmp_path / "two", "--iters", 4, "--resume_model", "latest", *flags) == 0
    same(tmp_path / "one/iter_4", tmp_path / "two/iter_4")
    assert snapshot.read(tmp_path / "two/iter_4").batch_size == 3


def test_a_run_without_better_scores_ends_early_also_over_a_resume(config, tmp_path, capsys):
    """With a learning rate of 0 and frozen batch norms every evaluation is as good as the first."""
    still = ("--freeze_bn", "--do_eval", "--save_interval", 1, "--opts", "lr_scheduler.learning_rate=0.0")
    assert train(config, tmp_path / "one", "--iters", 9, "--early_stop", 2, *still) == 0
    assert "Ended at iteration 3 of 9: 2 evaluations without a better score" in capsys.readouterr().out
    assert train(config, tmp_path / "two", "--iters", 2, *still) == 0
    resumed = ("--iters", 9, "--early_stop", 2, "--resume_model", "latest")
    assert train(config, tmp_path / "two", *resumed, *still) == 0
    assert "Ended at iteration 3 of 9" in capsys.readouterr().out
    assert train(config, tmp_path / "two", *resumed, *still) == 0
    assert "Nothing left to train" in capsys.readouterr().out
    assert max(snapshot.checkpoints(tmp_path / "two"))[0] == 3


def test_a_run_ends_within_its_time_with_a_checkpoint(config, tmp_path, capsys):
    started = time.monotonic()
    assert train(config, tmp_path, "--iters", 100000, "--time_budget", "2s", "--do_eval") == 0
    assert time.monotonic() - started < 20
    printed = capsys.readouterr().out
    last, folder = max(snapshot.checkpoints(tmp_path))
    assert f"Ended at iteration {last} of 100000: the time budget is used up" in printed
    assert snapshot.read(folder).best["best_model"][0] == last
    # the schedule is that of all iterations
    assert curve(tmp_path, "Train/lr")[last] == pytest.approx(0.01 * (1 - (last - 1) / 100000) ** 0.9, rel=1e-6)


def test_a_budget_keeps_what_a_checkpoint_takes(monkeypatch):
    now = iter([100.0, 100.0, 100.0])
    monkeypatch.setattr(stopping.time, "monotonic", lambda: next(now))
    budget = stopping.TimeBudget(60.0, started=50.0)
    assert not budget.is_over()
    budget.took(step=3.0, saving=6.0)
    assert not budget.is_over()
    budget.took(step=5.0)
    assert budget.is_over()
    assert not stopping.TimeBudget(None, 0.0).is_over()


# Validation


def test_the_validation_loss_is_the_main_outputs_mean_over_images(config, tmp_path, capsys):
    assert train(config, tmp_path, "--iters", 3, "--do_eval") == 0
    logged = curve(tmp_path, "Evaluate/loss")[3]
    assert f"[EVAL] iteration 3: loss {logged:.4f}, mIoU " in capsys.readouterr().out
    builder = config_file.builder(config_file.load(config))
    model = builder.model
    load_weights(model, tmp_path / "iter_3/model.pdparams")
    model.eval()
    losses = []
    for sample in builder.val_dataset:
        logits = model(paddle.to_tensor(sample["img"][None]))[0]
        label = paddle.to_tensor(sample["label"].astype("int64"))
        losses.append(
            float(F.cross_entropy(logits, label.reshape([1, 1, *label.shape[-2:]]), axis=1, ignore_index=255))
        )
    assert logged == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_validation_loss_is_that_of_what_is_evaluated(config, tmp_path):
    """With scales and flips: of their average."""
    averaged = {"aug_eval": True, "scales": [0.5, 1.0], "flip_horizontal": True}
    losses = []
    for name, file in (("one", config), ("several", tiny.config(tmp_path, test_config=averaged))):
        assert train(file, tmp_path / name, "--iters", 1, "--do_eval") == 0
        losses.append(curve(tmp_path / name, "Evaluate/loss")[1])
    assert np.isfinite(losses).all() and losses[0] != losses[1]


def test_a_loss_that_needs_more_than_labels_leaves_validation_without_one(config, tmp_path, capsys, monkeypatch):
    def forward(self: CrossEntropyLoss, logit: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        if logit.shape[0] == 1:  # in evaluation
            raise TypeError("forward() missing 1 required positional argument: 'edges'")
        return run(self, logit, label)

    run = CrossEntropyLoss.forward
    monkeypatch.setattr(CrossEntropyLoss, "forward", forward)
    assert train(config, tmp_path, "--iters", 2, "--do_eval", "--save_interval", 1) == 0
    printed = capsys.readouterr().out
    assert printed.count("There is no validation loss: CrossEntropyLoss") == 1
    assert "[EVAL] iteration 2: mIoU " in printed
    assert curve(tmp_path, "Evaluate/loss") == {}


# Logs


def test_a_short_run_has_few_lines(config, tmp_path):
    flags = ("--device", "cpu", "--do_eval", "--iters", 20, "--save_interval", 10)
    done = tiny.run("train", "--config", config, "--save_dir", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) <= 30, "\n".join(lines)
    for expected in ("FastSCNN: 1.42 M parameters, 3 classes; cpu", "7 train, 7 val images; batch 2; 20 iterations"):
        assert expected in done.stdout
    assert re.search(r"\| car +\| +6\.26% \| +6\.26% \|", done.stdout)
    assert re.search(r"iter: 10/20, loss: \S+, lr: \S+, \S+ images/s .* ETA 00:00:0\d", done.stdout)


def test_quiet_says_nothing_and_verbose_all(config, tmp_path, capfd):
    assert train(config, tmp_path / "q", "--iters", 2, "--do_eval", "--quiet") == 0
    assert capfd.readouterr().out == ""
    assert train(config, tmp_path / "v", "--iters", 1, "--do_eval", "--verbose") == 0
    printed = capfd.readouterr().out
    for part in ("Environment Information", "Config Information", "Class IoU", "Seed: 1"):
        assert part in printed


def test_a_terminal_has_a_bar_and_lines_above_it(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with console.speaking("normal"):
        steps = console.Steps(4, 10, 1, images=2, epoch=3, shown=True)
        steps.add([1.5, 1.0, 0.5], 0.1, 0.4)
        values = steps.scalars(5, 0.01)
        steps.close()
    assert "iter: 5/10, loss: 1.5000, lr: 0.010000, 5 images/s (25% of the time" in capsys.readouterr().out
    assert "training" in screen.getvalue() and "/10" in screen.getvalue()
    assert values["Train/loss_1"] == 0.5 and values["Train/batch_cost"] == 0.4


def test_lines_beyond_a_resumed_checkpoint_are_taken_back(tmp_path):
    log = trackers.JsonLines(tmp_path, 0)
    for step in (1, 2, 3):
        log.scalars({"Train/loss": step}, step)
    with log.path.open("a") as file:
        file.write('{"iteration": 4, "Tra')  # a kill while it was written
    trackers.JsonLines(tmp_path, 2).scalars({"Train/loss": 30}, 3)
    assert curve(tmp_path, "Train/loss") == {1: 1, 2: 2, 3: 30}


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_tracker_names_its_extra(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'paddle_hrfamily\[{name}\]'"):
        trackers.Trackers(tmp_path, [name], {}, start=0)


def tensorboard(folder: Path) -> tuple[list[str], list[float]]:
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c  # noqa: F401  the format that is read here

    content, names, losses = next(folder.glob("events.out.tfevents.*")).read_bytes(), [], []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = event_pb2.Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]
        for value in event.summary.value:
            names.append(value.tag)
            losses += [value.simple_value] if value.tag == "Train/loss" else []
    return names, losses


def mlflow(folder: Path) -> tuple[list[str], list[float]]:
    run = next(folder.glob("mlruns/*/*/metrics")).parent
    rows = [line.split() for line in (run / "metrics/Train/loss").read_text().splitlines()]
    pictures = [f"samples/{path.stem.rpartition('_')[0]}" for path in (run / "artifacts/samples").glob("*.png")]
    return ["Evaluate/mIoU"] * (run / "metrics/Evaluate/mIoU").is_file() + pictures, [float(row[1]) for row in rows]


def wandb(folder: Path) -> tuple[list[str], list[float]]:
    run = next(folder.glob("wandb/offline-run-*"))
    content = next(run.glob("*.wandb")).read_bytes()
    pictures = [f"samples/{path.name.partition('_')[0]}" for path in run.glob("files/media/images/samples/*.png")]
    names = [name for name in ("Evaluate/mIoU",) if name.encode() in content]
    return names + pictures, curve(folder, "Train/loss").values() if b"Train/loss" in content else []


@pytest.mark.parametrize(("module", "read_back"), [("tensorboardX", tensorboard), ("wandb", wandb), ("mlflow", mlflow)])
def test_trackers_get_curves_and_the_same_pictures(config, tmp_path, monkeypatch, module, read_back):
    pytest.importorskip(module)
    monkeypatch.setenv("WANDB_MODE", "offline")
    name = {"tensorboardX": "tensorboard"}.get(module, module)
    flags = ("--iters", 2, "--do_eval", "--save_interval", 1, "--log", name, "--samples", 2)
    assert train(config, tmp_path, *flags) == 0
    names, losses = read_back(tmp_path)
    np.testing.assert_allclose([*losses], [*curve(tmp_path, "Train/loss").values()], rtol=1e-5)
    assert {"Evaluate/mIoU", "samples/0", "samples/6"} <= set(names)


# Learning rate


def test_the_steepest_fall_is_suggested():
    rates = np.geomspace(1e-6, 10, 100)
    losses = 1 + 2 / (1 + (rates / 1e-2) ** 2) + rates**2
    found = lr_finder.Curve(rates, losses, losses).suggestion()
    assert 5e-3 < found < 2e-2
    with pytest.raises(UserError, match="no rate at which the loss falls"):
        lr_finder.Curve(rates, rates, rates).suggestion()


def test_a_learning_rate_is_looked_for(config, tmp_path, capsys):
    assert train(config, tmp_path, "--find_lr", 24, "--accumulate", 2) == 0
    said = re.search(r"falls the fastest at --learning_rate (\S+);", capsys.readouterr().out)
    found = lr_finder.read(tmp_path / "lr_finder.csv")
    assert 1e-6 < float(said.group(1)) < 10
    np.testing.assert_allclose(found.rates, np.geomspace(1e-6, 10, 24)[: len(found.rates)], rtol=1e-4)
    assert len(found.rates) > 10
    assert (tmp_path / "lr_finder.png").stat().st_size > 5000
    assert not list(tmp_path.glob("iter_*"))


# Mistakes

MISTAKES = {
    "early stop": (["--early_stop", "3"], "--early_stop counts evaluations, which need --do_eval"),
    "find and resume": (["--find_lr", "--resume_model", "latest"], "leave out --resume_model"),
    "paddleseg": (["--loop", "paddleseg", "--accumulate", "2"], "--accumulate is not in PaddleSeg's own loop"),
    "time": (["--time_budget", "two"], "two is no time"),
    "clip": (["--clip_norm", "0"], "0 is not a number above 0"),
    "both": (["--quiet", "--verbose"], "not allowed with"),
    "smoothing": (["--label_smoothing", "0.1", "--opts", "loss.types=[{'type': 'DiceLoss'}]"], "config has neither"),
    "freeze": (["--freeze", "backbon"], "--freeze backbon fits no parameter"),
    "too many": (["--accumulate", "9"], "too few for one batch: batch_size is 2, 9 of them to a step"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_flags_that_make_no_sense(config, tmp_path, capsys, name):
    flags, reason = MISTAKES[name]
    try:
        status = train(config, tmp_path, *flags)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert reason in capsys.readouterr().err


def test_memory_that_is_short_is_one_line(config, tmp_path, capsys, monkeypatch):
    def forward(self: FastSCNN, image: paddle.Tensor) -> list[paddle.Tensor]:
        if image.shape[0] > 1:
            raise MemoryError("Out of memory error on GPU 0. Cannot allocate 2.0GB memory on GPU 0")
        return run(self, image)

    run = FastSCNN.forward
    monkeypatch.setattr(FastSCNN, "forward", forward)
    assert train(config, tmp_path, "--iters", 2) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "batch_size 2 of crop 32x32" in said and "--batch_size 1 --accumulate 2" in said
