"""The benchmark: what it counts, how configurations take turns, and what it says and writes."""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
import pytest

from hrfamily_deploy.benchmarking import configuration, frames, measuring, plot, report, worker
from hrfamily_deploy.benchmarking.configuration import Configuration, parse
from hrfamily_deploy.benchmarking.measuring import Measured
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime.options import Options
from hrfamily_deploy.scripts import command_line
from paddle_hrfamily.export import static_graph
from tests.deploy.conftest import DEPLOY, Describe, Tiny

Photo = Callable[..., np.ndarray]
PLAN = {"backend": "paddle", "precision": "fp32", "device": "cpu", "notes": []}
DEFAULTS = Configuration(Path("first"), "paddle", "fp32", "cpu", 2, name="mine")


def run(*arguments: object) -> int:
    return command_line.main("benchmark", list(map(str, arguments)))


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def table(text: str, head: str) -> list[dict[str, str]]:
    """The rows below the line that starts with that column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    start = next(index for index, cells in enumerate(lines) if head in cells)
    rows = [dict(zip(lines[start], cells)) for cells in lines[start + 2 :] if len(cells) == len(lines[start])]
    return [row for row in rows if row["size"] != "size"]


def measured(latencies: Sequence[float], size: tuple[int, int] = (64, 96), batch: int = 1, name: str = "x") -> Measured:
    """One whose stages take that long together, and decoding nearly as long again."""
    run_seconds = np.array(latencies)
    seconds = {stage: run_seconds * share for stage, share in zip(worker.STAGES, (0.9, 0.1, 0.7, 0.2))}
    one = Configuration(Path("exported"), "paddle", "fp32", "cpu", 1, name=name)
    return Measured(one, size, batch, {"plan": PLAN, "load_seconds": 1.0, "memory_mib": 100.0}, seconds)


def test_stages_sizes_and_batches(describe: Describe, tmp_path: Path, capsys) -> None:
    wanted = ["--size", "64x96", "32x64", "--batch", 1, 3, "--runs", 5, "--warm-up", 1, "--frames", 2]
    assert run(describe(), *wanted, "--json", tmp_path / "a" / "b.json", "--markdown", tmp_path / "b.md") == 0
    content = json.loads((tmp_path / "a" / "b.json").read_text())
    rows = content["measurements"]
    assert [(row["size"], row["batch"]) for row in rows] == [([64, 96], 1), ([64, 96], 3), ([32, 64], 1), ([32, 64], 3)]
    for row in rows:
        assert set(row["runs"]) == set(worker.STAGES) and {len(times) for times in row["runs"].values()} == {5}
        whole = np.sum([row["runs"][stage] for stage in ("preprocess", "run", "postprocess")], axis=0)
        assert [row["min"], row["median"]] == pytest.approx([whole.min(), np.median(whole)], abs=1e-3)
        assert row["median"] <= row["p99"] <= whole.max() + 1e-3
        assert row["pictures_per_second"] == pytest.approx(row["batch"] / row["median"] * 1e3)
        assert row["plan"]["batch"] == row["batch"] and row["plan"]["backend"] == "paddle"
        assert 50 < row["memory_mib"] < 2000 and row["load_seconds"] > 0
    assert content["machine"]["versions"]["paddle"] and content["machine"]["cores"] >= 1
    assert content["method"] == {"runs": 5, "warm_up": 1, "pictures": "2 random images"}
    said = capsys.readouterr().out
    assert said == (tmp_path / "b.md").read_text() and [row["batch"] for row in table(said, "median")] == list("1313")
    assert "times as fast" not in said


def test_compared_with_itself_and_with_another_network(describe: Describe, photo: Photo, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", photo(48, 64, number))
    first, stranger = describe(), describe(name="_stranger")
    paddle.seed(6)
    static_graph.save(Tiny(), [-1, 3, -1, -1], "argmax", stranger / "model")
    logits = describe("none", class_names=None, class_colors=None)  # as PaddleSeg's export describes it
    arguments = [first, tmp_path / "in", "--runs", 5, "--warm-up", 0, "--threads", 1, "--json", tmp_path / "x.json"]
    assert run(*arguments, "--compare", f"{logits},name=logits", "--compare", stranger) == 0
    content = json.loads((tmp_path / "x.json").read_text())
    assert [row["size"] for row in content["measurements"]] == [[48, 64]] * 3
    same, other = content["ratios"]
    assert same["compared_with"] == "logits (paddle, fp32)" and same["equal_pixels"] >= 0.9999
    maps = [
        np.stack(list(Predictor(folder, "cpu").predict_each(sorted((tmp_path / "in").iterdir()))))
        for folder in (first, stranger)
    ]
    assert other["equal_pixels"] == pytest.approx((maps[0] == maps[1]).mean()) and other["equal_pixels"] < 0.9
    for ratio in content["ratios"]:
        assert ratio["interval_95"][0] <= ratio["times_as_fast"] <= ratio["interval_95"][1]


def test_a_graph_of_fixed_shape_in_two_runtimes(describe: Describe, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    flags = ["--compare", ",backend=openvino", "--runs", 5, "--frames", 3, "--json", tmp_path / "x.json"]
    assert run(describe("fixed"), *flags) == 0
    content = json.loads((tmp_path / "x.json").read_text())
    assert [(row["size"], row["batch"]) for row in content["measurements"]] == [([64, 96], 2)] * 2
    assert [row["plan"]["backend"] for row in content["measurements"]] == ["paddle", "openvino"]
    assert content["ratios"][0]["equal_pixels"] >= 0.9999


class Recorder:
    """A worker that writes down its runs, each of which takes as many seconds as its turn's number."""

    log: list[tuple[str, object]]

    def __init__(self, configuration: Configuration, files: Sequence[bytes], size: Any, batch: int) -> None:
        self.name = configuration.name

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, turn: int) -> dict[str, float]:
        self.log.append((self.name, turn))
        return dict.fromkeys(worker.STAGES, float(turn + 1))

    def state(self) -> dict[str, Any]:
        self.log.append((self.name, "state"))
        return {"plan": PLAN}

    def label(self, index: int) -> np.ndarray:
        return np.array([[index, 7, 7, 7 if self.name == "a" else index]])


def test_they_take_turns(monkeypatch) -> None:
    monkeypatch.setattr(Recorder, "log", [], raising=False)
    monkeypatch.setattr(measuring, "Worker", Recorder)
    both = [parse(f"x,name={name}", DEFAULTS) for name in "ab"]
    calls: list[None] = []
    rows, ratios = measuring.measure(both, [b""] * 2, (1, 4), 1, runs=3, warm_up=1, progress=lambda: calls.append(None))
    turns = [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2), ("b", 3), ("a", 3)]
    assert Recorder.log == [*turns, ("a", "state"), ("b", "state")]  # memory is asked for before labels are made
    assert [row.seconds["run"].tolist() for row in rows] == [[2, 3, 4]] * 2
    assert ratios[0].equal == 6 / 8 and ratios[0].median == 1
    assert len(calls) == measuring.steps(2, 2, 4)
    assert measuring.steps(1, 2, 4) == 4


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_the_ratio_is_of_pairs_and_in_its_interval(factor: float) -> None:
    random = np.random.default_rng(1)
    drift = np.linspace(1, 3, 40)  # a machine that slows down: pairs do not mind
    first = measured(drift * random.normal(1, 0.02, 40))
    ratio = measuring._ratio(first, measured(factor * drift * random.normal(1, 0.02, 40)), 1.0)
    assert ratio.low < factor < ratio.high and ratio.low < ratio.median < ratio.high
    assert ratio.high / ratio.low < 1.05
    rough = measuring._ratio(first, measured(factor * drift * random.normal(1, 0.2, 40)), 1.0)
    assert rough.high - rough.low > 3 * (ratio.high - ratio.low)


def test_decoding_is_not_in_the_latency() -> None:
    row = measured([0.01, 0.02, 0.05], batch=4)
    assert row.latency.tolist() == pytest.approx([0.01, 0.02, 0.05])
    assert row.pictures_per_second == pytest.approx(200)
    assert report.summary(row)["p99"] == pytest.approx(49.4)


@pytest.fixture
def a_worker(describe: Describe) -> Callable[[], worker.Worker]:
    def make() -> worker.Worker:
        one = Configuration(describe(), "paddle", "fp32", "cpu", 1)
        return worker.Worker(one, frames.random((32, 64), 2), (32, 64), 1)

    return make


def test_memory_is_that_of_the_process_alone(a_worker: Callable[[], worker.Worker]) -> None:
    ballast = np.ones(1_500_000_000, np.uint8)
    with a_worker() as one:
        one.run(0)
        assert one.state()["memory_mib"] < 1200 < worker._peak_memory() / 2**20
    assert ballast.any()


def test_a_process_that_dies_is_said(a_worker: Callable[[], worker.Worker]) -> None:
    with a_worker() as one:
        os.kill(one._process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="its process died .SIGKILL, perhaps of too little memory"):
            one.run(0)


@pytest.mark.parametrize("shown", [r"benchmark: +0%", r" [1-9]\d*/"], ids=["while loading", "while running"])
def test_ctrl_c_ends_it_and_leaves_no_process(describe: Describe, shown: str) -> None:
    script = [sys.executable, DEPLOY / "benchmark.py", describe(), "--size", "32x32", "--runs", "100000"]
    ours, terminal = os.openpty()  # a log would have no bar, nor a terminal of no size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    # In a group of its own, as a terminal interrupts it.
    process = subprocess.Popen(
        script, stdout=terminal, stderr=terminal, start_new_session=True, preexec_fn=heed_interruptions
    )
    os.close(terminal)
    said = b""
    try:
        while not re.search(shown, said.decode(errors="ignore")):
            said += os.read(ours, 1 << 16)
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(OSError):  # there is nothing more: nobody has the terminal open
            while part := os.read(ours, 1 << 16):
                said += part
        assert process.wait(30) == 130
        assert b"Traceback" not in said
        assert is_gone(process.pid)
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def heed_interruptions() -> None:
    """Also where the tests run in the background of a shell, which has what it starts there ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_while_a_process_starts_is_heard_after_it_and_by_it_never() -> None:
    started = []

    def start() -> None:
        code = "import signal; signal.raise_signal(signal.SIGINT); print('unheard')"
        with worker._uninterrupted():
            signal.raise_signal(signal.SIGINT)
            started.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False))

    with pytest.raises(KeyboardInterrupt):
        start()
    assert [(done.returncode, done.stdout) for done in started] == [(0, "unheard\n")]


def is_gone(group: int) -> bool:
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_it_rests_when_all_threads_do() -> None:
    end = time.perf_counter() + 0.3

    def spin() -> None:
        while time.perf_counter() < end:
            pass

    spinner = threading.Thread(target=spin)
    spinner.start()
    worker._come_to_rest()
    assert time.perf_counter() >= end - 0.05
    spinner.join()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to CPUs")
def test_a_process_keeps_to_its_cores() -> None:
    before = os.sched_getaffinity(0)
    try:
        worker._pin(10_000)
        assert os.sched_getaffinity(0) == before
        worker._pin(1)
        assert len(os.sched_getaffinity(0)) == 1 and os.sched_getaffinity(0) <= before
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("other", {"folder": Path("other")}),
        ("other,backend=auto,precision=bf16", {"folder": Path("other"), "backend": "auto", "precision": "bf16"}),
        (",backend=openvino", {"backend": "openvino"}),
        (",threads=1,device=gpu:1,tensorrt=yes", {"threads": 1, "device": "gpu:1", "tensorrt": True}),
        (",tensorrt=no,name=plain", {"tensorrt": False, "name": "plain"}),
    ],
)
def test_how_a_configuration_is_written(text: str, changes: dict) -> None:
    expected = {"folder": Path("first"), "backend": "paddle", "precision": "fp32", "device": "cpu", "threads": 2}
    assert vars(parse(text, DEFAULTS)) == {**expected, "tensorrt": False, "name": "", **changes}


def test_a_folder_with_a_comma(tmp_path: Path) -> None:
    folder = tmp_path / "a,b=c"
    folder.mkdir()
    assert parse(str(folder), DEFAULTS).folder == folder
    assert parse(str(folder), DEFAULTS).title == f"{tmp_path.name}/a,b=c"


def test_options_are_those_of_the_predictor() -> None:
    plain = DEFAULTS.options(3, [(64, 96)])
    assert plain == Options(device="cpu", precision="fp32", threads=2, backend="paddle", batch=3)
    compiled = replace(DEFAULTS, device="gpu", tensorrt=True).options(1, [(64, 96)])
    assert compiled.tensorrt and compiled.device == "gpu" and compiled.sizes == [(64, 96)]
    assert set(vars(plain)) <= set(inspect.signature(Predictor).parameters)
    assert set(configuration._KINDS) == set(vars(DEFAULTS)) - {"folder"}


def test_frames(photo: Photo, tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.png", photo(40, 60, number))
    chosen = frames.real(tmp_path, 3)
    assert chosen == [(tmp_path / f"{number}.png").read_bytes() for number in (0, 2, 4)]
    assert frames.at_size(chosen[0], (40, 60)) is chosen[0]
    for size in ((20, 30), (80, 90)):
        smaller = frames.at_size(chosen[0], size)
        assert frames.size_of(smaller) == size and smaller.startswith(b"\x89PNG")
    made = frames.random((50, 70), 2)
    assert made == frames.random((50, 70), 2) and made[0] != made[1] and made[0].startswith(b"\xff\xd8")
    image = image_files.decode(frames.at_size(made[0], (25, 35)), 3)
    whole = image_files.decode(made[0], 3)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), whole.mean(axis=(0, 1)), atol=2)
    assert whole.std() > 20


@pytest.mark.parametrize(("sizes", "batches", "panels"), [(2, 1, 1), (1, 3, 1), (2, 3, 2), (1, 1, 1)])
def test_the_plot(tmp_path: Path, monkeypatch, sizes: int, batches: int, panels: int) -> None:
    axes = pytest.importorskip("matplotlib.axes").Axes
    drawn: list[tuple[list, list]] = []
    original = axes.plot

    def watched(self: Any, xs: Any, ys: Any, **kwargs: Any) -> Any:
        drawn.append((list(xs), list(ys)))
        return original(self, xs, ys, **kwargs)

    monkeypatch.setattr(axes, "plot", watched)
    rows = [
        measured([0.001 * (s + 1) * (b + 1)] * 5, (100 * (s + 1), 200), b + 1, name)
        for name in "xy"
        for s in range(sizes)
        for b in range(batches)
    ]
    plot.write(tmp_path / "x.png", rows)
    height, width = cv2.imread(str(tmp_path / "x.png")).shape[:2]
    assert (width > 2 * height) == (panels == 2)
    if sizes > 1 or batches == 1:
        assert drawn[0] == (pytest.approx([0.02 * (s + 1) for s in range(sizes)]), pytest.approx(range(1, sizes + 1)))
    if batches > 1:
        assert drawn[-1] == ([1, 2, 3], pytest.approx([sizes, 2 * sizes, 3 * sizes]))


def test_without_matplotlib_it_says_so_before_it_runs(describe: Describe, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(plot.importlib.util, "find_spec", lambda name: None)
    assert run(describe(), "--plot", tmp_path / "x.png") == 2
    assert "pip install 'paddle_hrfamily[benchmark]', or pip install matplotlib" in capsys.readouterr().err


def test_every_flag_has_its_default_in_the_help() -> None:
    for action in command_line.parser("benchmark")._actions:
        assert action.dest in ("help", "network") or "default: " in action.help, action.dest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runs", 4], ["--runs 4", "from 5 up"]),
        (["--warm-up", -1], ["--warm-up -1"]),
        (["--batch", 2, 0], ["--batch 0"]),
        (["--frames", 0], ["--frames 0"]),
        (["--threads", 0], ["--threads 0"]),
        (["--size", "512"], ["--size", "512 must be height and width", "512x1024"]),
        (["--size", "0x5"], ["--size", "0x5"]),
        (["--compare", "nowhere"], ["nowhere does not exist"]),
        (["--compare", ",backend"], [",backend", "backend=…"]),
        (["--compare", ",colour=red"], ["'colour=red' is no option", "backend=…"]),
        (["--compare", ",threads=none"], ["threads=none", "whole number"]),
        (["--compare", ",tensorrt=1"], ["tensorrt=1", "yes or no"]),
        (["--plot", "x.jpg"], ["--plot x.jpg", ".png"]),
        (["absent.png"], ["absent.png does not exist"]),
        (["false.png"], ["false.png", "damaged"]),
        (["--backend", "caffe", "--size", "32x32"], ["exported_argmax", "no backend 'caffe'"]),
        (["--json", "false.png/x.json", "--size", "32x32", "--runs", 5], ["x.json", "cannot be written"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    describe: Describe, tmp_path: Path, monkeypatch, capfd, arguments: list, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "false.png").write_bytes(b"\xff\xfe\x00nothing")
    assert run(describe(), *arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words)


def test_a_size_that_the_graph_does_not_take(describe: Describe, capfd) -> None:
    assert run(describe("fixed"), "--size", "32x32") == 2
    assert "error: " in capfd.readouterr().err.splitlines()[-1]


def test_it_stands_alone(describe: Describe, tmp_path: Path) -> None:
    """Run where importing this package or PaddleSeg fails, in its child processes as well."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(dict.fromkeys(['paddle_hrfamily', 'paddleseg', 'matplotlib']))\n"
    )
    script = [sys.executable, DEPLOY / "benchmark.py", describe(), "--size", "32x32", "--runs", "5"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(table(done.stdout, "median")) == 1 and "Traceback" not in done.stderr
