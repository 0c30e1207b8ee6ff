"""A comparison by real training processes: killed and resumed, changed, failing, and its table."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.ablation import runs, table
from paddle_hrfamily.ablation.suite import Suite, read_suite
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, registration
from tests import tiny

FLAGS = ("--device", "cpu", "--save_interval", "4", "--iters", "20")
ROWS = {
    "plain": {},
    "slow": {"published": 41.5, "opts": ["lr_scheduler.learning_rate=0.001"]},
    "exploding": {"lr_scheduler": {"learning_rate": 1.0e30}},
    "broken": {"model": {"no_such_option": 1}},
}


def write_suite(folder: Path, rows: dict[str, Any] = ROWS, **content: Any) -> Path:
    config = folder / "config.yml" if (folder / "config.yml").exists() else tiny.config(folder)
    file = folder / "suite.yml"
    whole = {"source": "nobody's table 1", "published_on": "a planet", "config": str(config), "rows": rows, **content}
    file.write_text(yaml.safe_dump(whole, sort_keys=False))
    return file


def ablate(*arguments: object) -> int:
    return run_command("ablate", [*map(str, arguments)], prog="hrfamily ablate")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A suite of which one row was killed while it trained and started again, and the folder with its table."""
    folder = tmp_path_factory.mktemp("compared")
    suite, out = write_suite(folder), folder / "out"
    line = tiny.command("ablate", suite, *FLAGS, "--seeds", 7, "--save_dir", out)
    process = subprocess.Popen(line, env=tiny.environment(), start_new_session=True, stdout=subprocess.DEVNULL)
    log, deadline = out / "suite" / "plain" / "seed_7" / runs.LOG, time.monotonic() + 120
    while not (log.exists() and max(tiny.losses(log.read_text()), default=0) > 4):  # 4 has a checkpoint
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with (out / "suite" / ".lock").open() as lock:  # the training, whose parent is gone, dies a moment later
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert not (out / "suite" / table.MARKDOWN).exists()
    assert ablate(suite, *FLAGS, "--seeds", 7, "--save_dir", out) == 1  # two rows have no result
    return suite, out / "suite"


def test_a_killed_run_goes_on_from_its_checkpoint(compared: tuple[Path, Path]) -> None:
    log = (compared[1] / "plain" / "seed_7" / runs.LOG).read_text()
    assert log.count("$ hrfamily train") == 2
    assert "Resumed" in log


def test_it_ends_like_one_that_nobody_killed(compared: tuple[Path, Path], tmp_path: Path) -> None:
    suite, folder = compared
    assert ablate(suite, *FLAGS, "--seeds", 7, "--rows", "plain", "--save_dir", tmp_path) == 0
    whole, resumed = (json.loads((f / "plain/seed_7/result.json").read_text()) for f in (tmp_path / "suite", folder))
    assert whole == resumed
    assert 0 < whole["miou"] < 1 and whole["loss"] > 0


def test_the_table_has_every_row(compared: tuple[Path, Path]) -> None:
    text = (compared[1] / table.MARKDOWN).read_text()
    assert "# suite: nobody's table 1" in text and "Paper: a planet." in text
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert [*rows] == ["row", "---", *ROWS]
    assert "41.50" in rows["slow"] and rows["slow"].endswith("| 7 |")
    assert "failed" in rows["broken"] and "it cannot be built: model: FastSCNN has no argument no_such_option" in text
    assert "failed" in rows["exploding"] and "seed 7: hrfamily train: error: the loss is" in text
    plain, slow, exploding, broken = json.loads((compared[1] / table.JSON).read_text())["rows"]
    assert plain["parameters"] == slow["parameters"] > 1e6
    assert plain["loss"]["mean"] < slow["loss"]["mean"]  # which learns ten times as slowly
    assert exploding["miou"] is broken["miou"] is None


def test_what_is_done_is_not_repeated(
    compared: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, folder = compared
    shutil.copytree(folder, tmp_path / "suite")
    before = (folder / "slow" / "seed_7" / runs.LOG).read_bytes()
    assert ablate(suite, *FLAGS, "--seeds", 7, "--rows", "slow", "--save_dir", tmp_path) == 0
    assert (tmp_path / "suite" / "slow" / "seed_7" / runs.LOG).read_bytes() == before
    out = capsys.readouterr().out
    assert "slow, seed" not in out
    assert "| plain | " in out  # which is not asked for, and stays in the table


def test_a_dry_run_tells_and_does_nothing(compared: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    suite, folder = compared
    files = sorted(folder.rglob("*"))
    assert ablate(suite, *FLAGS, "--seeds", 7, 8, "--save_dir", folder.parent, "--dry-run") == 1
    out = capsys.readouterr().out
    assert "plain" in out and "to run with seed 8" in out and "20 iterations" in out and "no_such_option" in out
    assert sorted(folder.rglob("*")) == files


def test_a_changed_row_is_not_mixed_with_what_it_was(
    compared: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, folder = compared
    changed = [*FLAGS[:-1], "21"]
    assert ablate(suite, *changed, "--seeds", 7, "--rows", "plain", "--save_dir", folder.parent, "--dry-run") == 1
    assert "another definition: iters was 20 and is 21" in capsys.readouterr().out


def test_two_at_once_keep_apart(compared: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    suite, folder = compared
    with runs.alone(folder):
        assert ablate(suite, *FLAGS, "--save_dir", folder.parent) == 2
    assert "in use by another" in capsys.readouterr().err


def test_an_interrupted_comparison_leaves_no_process_behind(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, {"plain": {"iters": 5000}})
    line = tiny.command("ablate", suite, "--device", "cpu", "--seeds", 1, "--save_dir", tmp_path / "out")
    process = subprocess.Popen(line, env=tiny.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log, deadline = tmp_path / "out" / "suite" / "plain" / "seed_1" / runs.LOG, time.monotonic() + 120
    while not (log.exists() and "iter: " in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 2 and error.strip().endswith("error: interrupted")
    assert "not run" in out
    with runs.alone(tmp_path / "out" / "suite"):  # a training that goes on would hold this
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"rows": {}}, "the key rows"),
        ({"row": {}}, "no key row; did you mean rows"),
        ({"rows": {"a b": {}}}, "a row's name"),
        ({"rows": {True: {}}}, "a row's name"),
        ({"rows": {"a": 3}}, "must map keys"),
        ({"rows": {"a": {"modle": {}}}}, "did you mean model"),
        ({"rows": {"a": {"opts": "x=1"}}}, "opts must be a list"),
        ({"rows": {"a": {"by_config": ["x.yml"]}}}, "by_config must map configs"),
        ({"config": None}, "no config to start from"),
    ],
)
def test_a_suite_that_is_none(tmp_path: Path, content: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_suite(write_suite(tmp_path, **content))


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this package's suites are"):
        read_suite("absent.yml")
    with pytest.raises(UserError, match="did you mean plain"):
        read_suite(write_suite(tmp_path)).select(["plian"])


def test_a_row_is_its_config_with_changes(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path, {"a": {"loss": {"coef": [1, 0]}, "opts": ["batch_size=3"]}}))
    config = suite.rows[0].resolved(iters=5, opts=["optimizer.momentum=0.5"])
    assert (config.dic["loss"]["coef"], config.batch_size, config.iters) == ([1, 0], 3, 5)
    assert config.dic["optimizer"] == {"type": "SGD", "momentum": 0.5, "weight_decay": 4.0e-5}
    with pytest.raises(UserError, match=r"row a on config.yml: .*batch_size"):
        suite.rows[0].resolved(opts=["batch_size=none"])


def test_a_row_means_the_same_on_every_config_that_it_is_for(tmp_path: Path) -> None:
    by_config = {"config.yml": {"loss": {"coef": [2]}}, "other.yml": {"loss": {"coef": [3]}, "iters": 7}}
    suite = write_suite(tmp_path, {"a": {"loss": {"types": []}, "by_config": by_config}})
    own, other, third = (read_suite(suite, config).rows[0] for config in (None, "other.yml", "third.yml"))
    assert own.changes == {"loss": {"types": [], "coef": [2]}} and not own.refusal
    assert other.changes == {"loss": {"types": [], "coef": [3]}, "iters": 7} and not other.refusal
    with pytest.raises(UserError, match=r"row a is written for config.yml and other.yml, not for third.yml"):
        third.resolved()


def test_a_row_with_a_config_of_its_own_says_that_another_does_not_reach_it(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, {"a": {}, "b": {"config": "quickstart.yml"}})
    plain, own = read_suite(suite, str(tmp_path / "config.yml")).rows
    assert plain.resolved().iters
    with pytest.raises(UserError, match=r"row b starts from quickstart.yml whatever --config says"):
        own.resolved()
    assert read_suite(suite).rows[1].resolved().dic["train_dataset"]["type"] == "StreetScenes"


# Row of table IX -> losses by type and weight, and the crop: on CamVid's short schedule, and on Cityscapes as printed.
CE, OHEM = "CrossEntropyLoss", "WeightedOhemCrossEntropyLoss"
TABLE_IX = {
    "plain": ([CE], [256, 256], [1024, 512]),
    "deep_supervision": ([CE, CE], [256, 256], [1024, 512]),
    "ohem": ([OHEM, CE], [256, 256], [1024, 512]),
    "larger_crop": ([OHEM, CE], [320, 320], [1024, 1024]),
}


@pytest.mark.parametrize("row", TABLE_IX)
@pytest.mark.parametrize("base", ["ddrnet_23_slim_camvid.yml", "ddrnet_23_slim_cityscapes.yml"])
def test_rows_of_ddrnets_training_are_the_papers_on_both_data_sets(row: str, base: str) -> None:
    registration.register()
    (found,) = read_suite("ddrnet_training", base).select([row])
    config = found.resolved()
    losses, *crops = TABLE_IX[row]
    types, coef = config.dic["loss"]["types"], config.dic["loss"]["coef"]
    names = [item["type"].replace("WeightedPixel", "") for item in types * (len(coef) if len(types) == 1 else 1)]
    assert names == losses and coef == [1, 0.4][: len(losses)]
    assert config.dic["model"].get("auxiliary", True) == (len(losses) == 2)
    transforms = {item["type"]: item for item in config.dic["train_dataset"]["transforms"]}
    assert transforms["RandomPaddingCrop"]["crop_size"] == crops["cityscapes" in base]
    if "cityscapes" in base:  # class weights on every row, and nothing else of the augmentation changed
        assert all(len(item["weight"]) == 19 for item in types)
        plain = {item["type"]: item for item in config_file.load(base).dic["train_dataset"]["transforms"]}
        assert {**transforms, "RandomPaddingCrop": plain["RandomPaddingCrop"]} == plain
    runs.parameters(config)


SUITES_ON = [
    ("specialize_fuse_output", "hrnet_w48_specialize_fuse_ade20k.yml"),
    ("specialize_fuse_relabelling", "hrnet_w32_specialize_fuse_ade20k_split.yml"),
    *((f"spgnet_{name}", "spgnet_r18_cityscapes.yml") for name in ("guidance", "stages", "depth", "pooling")),
    ("spgnet_ohem", "spgnet_r50_cityscapes.yml"),
    ("ddrnet_context", "ddrnet_23_slim_cityscapes.yml"),
    ("hrnet_fusion", "hrnet_w48_cityscapes.yml"),
    ("hrnet_representation", "hrnet_w18_cityscapes.yml"),
]


@pytest.mark.parametrize(("suite", "base"), SUITES_ON)
def test_every_row_builds_on_the_papers_own_config_too(suite: str, base: str) -> None:
    """`plain` of Specialize and Fuse among them, which once had another backbone than --config."""
    registration.register()
    for row in read_suite(suite, base).rows:
        config = row.resolved()
        assert config.dic["train_dataset"]["dataset_root"] != "data/camvid"
        base_model = config_file.load(base).dic["model"]
        if "backbone" in base_model:
            assert config.dic["model"]["backbone"]["variant"] == base_model["backbone"]["variant"]
        assert runs.parameters(config) > 1e6


def test_mean_and_spread() -> None:
    assert table.spread([]) is None
    assert table.spread([2.0]) == {"mean": 2.0, "deviation": 0.0}
    assert table.spread([1.0, 2.0, 3.0]) == {"mean": 2.0, "deviation": 1.0}
    results = [
        {"seed": s, "miou": m, "loss": 1.0, "iterations": 9, "versions": {"paddle": "x"}}
        for s, m in ((0, 0.5), (1, 0.52))
    ]
    line = table.Line("a", None, 1_500_000, results)
    text = table.markdown(Suite("s", "", "", ()), [line])
    assert "| a | 1.5000 M | 51.00 ± 1.41 | 1.0000 ± 0.0000 | 0, 1 |" in text
    assert "Iterations: 9; paddle x." in text


def test_the_last_line_of_a_log_that_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with pytest.raises(runs.Failed, match=r"hrfamily train: error: --config .* \(status 2, "), contextlib.ExitStack():
        runs.Children().run(log, "train")
    assert log.read_text().startswith("$ hrfamily train\n")
    with pytest.raises(runs.Failed, match="error: no command 'test'"):  # the last process's, not an earlier one's
        runs.Children().run(log, "test")


def test_options_of_several_values_are_the_same_when_read_back(tmp_path: Path) -> None:
    config = {"test_config": {"scales": (0.75, 1.0)}, "iters": 2}
    (tmp_path / runs.CONFIG).write_text(yaml.safe_dump({"test_config": {"scales": [0.75, 1.0]}, "iters": 2}))
    runs.check_same(tmp_path, config)
    with pytest.raises(runs.Failed, match=r"test_config.scales.1 was 1.0 and is 2.0"):
        runs.check_same(tmp_path, {**config, "test_config": {"scales": (0.75, 2.0)}})
