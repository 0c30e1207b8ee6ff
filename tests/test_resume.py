"""A real training process, killed again and again, arrives where an undisturbed one does, by the same losses."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.checkpointing import snapshot
from paddle_hrfamily.weights import read
from tests import tiny

pytestmark = pytest.mark.line

ITERS, INTERVAL, KILLS = 18, 3, 3
FLAGS = ["--device", "cpu", "--do_eval", "--use_ema", "--use_vdl", "--log_iters", 1, "--save_interval", INTERVAL]


def start(config: Path, save_dir: Path, log: Path, *flags: object) -> subprocess.Popen:
    line = tiny.command("train", "--config", config, "--save_dir", save_dir, "--iters", ITERS, *FLAGS, *flags)
    with log.open("w") as file:
        return subprocess.Popen(line, env=tiny.environment(), stdout=file, stderr=file, start_new_session=True)


def wait_for(process: subprocess.Popen, log: Path, iteration: int) -> None:
    """Until the process has printed a later iteration's loss, or has ended."""
    deadline = time.monotonic() + 120
    while process.poll() is None and max(tiny.losses(log.read_text()), default=0) < iteration:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def exact_losses(save_dir: Path) -> dict[int, float]:
    """Iteration -> loss as float32, from the last VisualDL log, which belongs to the process that came to the end."""
    from visualdl import LogReader

    last = max(save_dir.glob("vdlrecords*"), key=lambda path: path.stat().st_mtime_ns)
    return {record.id: record.value for record in LogReader(file_path=str(last)).get_data("scalar", "Train/loss")}


def parameters(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint: network, average and optimizer, the latter by order, as its names may differ."""
    tensors = {}
    for name in ("model", "ema_model"):
        tensors.update({f"{name} {key}": array for key, array in read(folder / f"{name}.pdparams").items()})
    for index, array in enumerate(read(folder / "model.pdopt").values()):
        tensors[f"optimizer {index}"] = array
    return tensors


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The config, the folder and the printed losses of a run that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = tiny.config(folder)
    process = start(config, folder / "out", folder / "log", "--seed", 5)
    assert process.wait(timeout=240) == 0, (folder / "log").read_text()
    return config, folder / "out", tiny.losses((folder / "log").read_text())


def test_killed_at_random_moments_it_ends_like_the_undisturbed_run(undisturbed, tmp_path):
    config, reference, losses = undisturbed
    chance = random.Random()
    out, killed, reached, resumed = tmp_path / "out", 0, 0, []
    for attempt in range(KILLS + 1):
        log = tmp_path / f"log{attempt}"
        process = start(config, out, log, "--seed", 5, "--resume_model", "latest")
        if attempt < KILLS:
            # from one loss to beyond the next checkpoint: inside steps, evaluations and writing alike
            wait_for(process, log, min(reached + chance.randint(1, 5), ITERS - 1))
            time.sleep(chance.uniform(0, 0.4))
            killed += process.poll() is None
            kill(process)
        else:
            assert process.wait(timeout=240) == 0, log.read_text()
        found = tiny.losses(log.read_text())
        for iteration, loss in found.items():
            assert float(loss) == pytest.approx(float(losses[iteration]), abs=1.01e-4), (attempt, iteration)
        if found:
            resumed.append(min(found) - 1)
            reached = max(found)
    assert killed == KILLS
    assert resumed[-1] > 0, "the last process must have continued, not begun anew"
    assert all(iteration % INTERVAL == 0 for iteration in resumed)

    expected, found = exact_losses(reference), exact_losses(out)
    assert max(found) == ITERS
    np.testing.assert_allclose([found[i] for i in found], [expected[i] for i in found], rtol=1e-5)
    ends = [parameters(folder / f"iter_{ITERS}") for folder in (reference, out)]
    assert ends[0].keys() == ends[1].keys()
    for key, array in ends[0].items():
        np.testing.assert_allclose(ends[1][key], array, rtol=1e-4, atol=1e-7, err_msg=key)
    states = [json.loads((folder / f"iter_{ITERS}/state.json").read_text()) for folder in (reference, out)]
    assert states[0]["best"].keys() == states[1]["best"].keys() == {"best_model", "ema_best_model"}
    for key in states[0]["best"]:
        assert states[0]["best"][key][0] == states[1]["best"][key][0]
        assert states[0]["best"][key][1] == pytest.approx(states[1]["best"][key][1], rel=1e-5)
    assert snapshot.read(out / "best_model").iteration == states[1]["best"]["best_model"][0]


def test_keep_checkpoint_max_counts_across_resumes(undisturbed, tmp_path):
    config, _, _ = undisturbed
    command = ["train", "--config", str(config), "--device", "cpu", "--save_dir", str(tmp_path), "--save_interval", "2"]
    for iters in ("4", "8"):
        arguments = ["--iters", iters, "--keep_checkpoint_max", "2", "--resume_model", "latest"]
        assert main([*command, *arguments]) == 0
    assert [n for n, _ in snapshot.checkpoints(tmp_path)] == [6, 8]


def test_a_worse_score_after_a_resume_leaves_the_best_alone(undisturbed, tmp_path, capsys):
    config, _, _ = undisturbed
    command = ["train", "--config", str(config), "--device", "cpu", "--save_dir", str(tmp_path), "--do_eval"]
    assert main([*command, "--iters", "2"]) == 0
    path = tmp_path / "iter_2/state.json"
    state = json.loads(path.read_text())
    state["best"] = {"best_model": [1, 0.99]}
    path.write_text(json.dumps(state))
    before = (tmp_path / "best_model/model.pdparams").read_bytes()
    capsys.readouterr()
    assert main([*command, "--iters", "4", "--resume_model", "latest"]) == 0
    assert (tmp_path / "best_model/model.pdparams").read_bytes() == before
    assert "best validation mIoU 0.9900 at iteration 1" in capsys.readouterr().out
    assert json.loads((tmp_path / "iter_4/state.json").read_text())["best"] == {"best_model": [1, 0.99]}
