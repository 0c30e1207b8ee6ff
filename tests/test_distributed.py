"""Two processes on one CPU, joined by gloo: one order of data, one set of weights, each image evaluated once."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.checkpointing import snapshot
from tests import tiny

PROTOBUF = int(importlib.metadata.version("protobuf").split(".")[0])
pytestmark = [
    pytest.mark.line,
    pytest.mark.skipif(
        paddle.__version__.startswith("2.6") and PROTOBUF > 6,
        reason=f"Paddle 2.6's fleet asks protobuf for FieldDescriptor.label, which protobuf {PROTOBUF} no longer has",
    ),
]

# What each process runs: `hrfamily train`, and then it writes down what only it can know.
WORKER = """
import sys
import numpy as np
import paddle
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.checkpointing import order
from paddle_hrfamily.training import loop

folder, *arguments = sys.argv[1:]
seen, iterate = [], order.StepSampler.__iter__

def watched(sampler):
    for batch in iterate(sampler):
        seen.append(batch)
        yield batch

def training(model, *args, **kwargs):
    train(model, *args, **kwargs)
    rank = paddle.distributed.get_rank()
    trainable = {name: value.numpy() for name, value in model.named_parameters() if value.trainable}
    np.savez(f"{folder}/rank{rank}.npz", seen=seen, **trainable)

order.StepSampler.__iter__ = watched
train, loop.train = loop.train, training
sys.exit(main(["train", *arguments]))
"""


def launch(folder: Path, *arguments: object) -> str:
    """Run WORKER twice under paddle.distributed.launch. Returns what both printed."""
    script = folder / "worker.py"
    script.write_text(WORKER)
    launcher = [
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node",
        2,
        "--backend",
        "gloo",
        "--log_dir",
        folder / "log",
    ]
    line = [sys.executable, *launcher, script, folder, *arguments]
    done = subprocess.run(
        [*map(str, line)], env=tiny.environment(), capture_output=True, text=True, timeout=240, check=False
    )
    logs = "".join(path.read_text() for path in sorted((folder / "log").glob("workerlog.*")))
    assert done.returncode == 0, logs[-4000:]
    return logs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three steps by two processes, killed by nobody, then three more: folder, config, and what was printed."""
    folder = tmp_path_factory.mktemp("distributed")
    config = tiny.config(folder)
    flags = ["--config", config, "--save_dir", folder / "out", "--device", "cpu", "--do_eval", "--log_iters", 1]
    printed = launch(folder, *flags, "--save_interval", 3, "--iters", 3)
    printed += launch(folder, *flags, "--save_interval", 3, "--iters", 6, "--resume_model", "latest")
    return folder, config, printed


def test_both_end_with_the_same_parameters(trained):
    folder, _, _ = trained
    first, second = (np.load(folder / f"rank{rank}.npz") for rank in (0, 1))
    assert len(first.files) > 20
    for key in set(first.files) - {"seen"}:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_each_takes_its_own_part_of_one_order_though_no_seed_was_given(trained):
    folder, _, _ = trained
    first, second = (np.load(folder / f"rank{rank}.npz")["seen"][..., 0] for rank in (0, 1))
    assert first.shape == second.shape
    for mine, others in zip(first.reshape(-1, 2), second.reshape(-1, 2)):
        assert not {*mine} & {*others}


def test_one_process_writes_whole_checkpoints_and_resumes(trained):
    folder, _, printed = trained
    assert sorted(tiny.losses(printed)) == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(float(loss)) for loss in tiny.losses(printed).values())
    state = snapshot.read(folder / "out/iter_6")
    assert (state.iteration, state.ranks) == (6, 2)
    assert "cannot be continued exactly" not in printed


def test_seven_images_on_two_processes_are_counted_once(trained, capsys):
    """By the classes' shares of the labelled pixels; on CPUs, where batch norm is not synchronised, scores differ."""
    _, config, printed = trained

    def shares(text: str) -> list[str]:
        return re.findall(r"(\d+\.\d+)% \|", text)[-len(tiny.CLASSES) :]

    assert main(["val", "--config", str(config), "--device", "cpu"]) == 0
    assert shares(printed) == shares(capsys.readouterr().out) != []
    assert "7 images: mIoU" in printed
