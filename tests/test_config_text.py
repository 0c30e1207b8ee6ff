"""`_base_` by name, and `hrfamily configs --copy`: a config as one file, with its comments."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml

from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, config_sources, config_text, hook, registration

registration.register()
PACKAGED = config_sources.packaged_configs()
WITHOUT_COMMENTS = {"hrnet_w48_pascal_context.yml"}  # an alias of the file stands for what its base's section extends


def write(folder: Path, text: str, name: str = "mine.yml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("base", ["ddrnet_23_slim_camvid.yml", "_base_/camvid.yml", "gone/ddrnet_23_slim_camvid.yml"])
def test_a_base_is_found_by_name(tmp_path: Path, base: str) -> None:
    content = config_sources.read(write(tmp_path, f"_base_: {base}\nbatch_size: 7\n"))
    assert content["batch_size"] == 7 and content["train_dataset"]["dataset_root"] == "data/camvid"
    assert "_base_" not in content


def test_the_file_beside_comes_first(tmp_path: Path) -> None:
    write(tmp_path, "iters: 3\n", "quickstart.yml")
    assert config_sources.read(write(tmp_path, "_base_: quickstart.yml\n")) == {"iters": 3}


def test_a_file_may_have_its_bases_name(tmp_path: Path) -> None:
    own = write(tmp_path, "_base_: quickstart.yml\niters: 3\n", "quickstart.yml")
    assert config_file.load(own).iters == 3
    assert config_file.load(own).dic["train_dataset"]["type"] == "StreetScenes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "_base_: ddrnet_23_slim_camvit.yml\n",
            "_base_ names ddrnet_23_slim_camvit.yml, .*did you mean ddrnet_23_slim_",
        ),
        ("_base_: mine.yml\n", "_base_ names mine.yml, which leads back to"),
        ("_base_: [other.yml]\n", "other.yml: _base_ names mine.yml, which leads back to"),
        ("_base_: 3\n", "_base_ must be the name of a config, or a list of names, and is 3"),
        ("_base_: empty.yml\n", "empty.yml: a config is a mapping"),
        (
            "_base_: quickstart.yml\nmodel: {backbone: {variant: {type: X}}}\n",
            "a section of it is none in .*quickstart",
        ),
    ],
)
def test_a_base_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, "_base_: mine.yml\n", "other.yml")
    write(tmp_path, "# nothing\n", "empty.yml")
    with pytest.raises(UserError, match=says) as raised:
        config_file.load(write(tmp_path, text))
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)


def test_classes_take_the_place_of_the_bases(tmp_path: Path) -> None:
    """Own data on a packaged recipe: no number of classes has to be written."""
    data = f"{{type: Dataset, dataset_root: {tmp_path}}}"
    text = f"_base_: ddrnet_23_slim_camvid.yml\nclasses: {{a: [0, 0, 0], b: [9, 9, 9]}}\ntrain_dataset: {data}\n"
    config = config_file.load(write(tmp_path, text)).dic
    assert config["class_names"] == ["a", "b"] and config["class_colors"] == [[0, 0, 0], [9, 9, 9]]
    assert [config[key]["num_classes"] for key in ("model", "train_dataset", "val_dataset")] == [2, 2, 2]


def test_every_packaged_config_is_copied_whole() -> None:
    for name, file in PACKAGED.items():
        text = config_text.merged(file)
        assert yaml.safe_load(text) == config_sources.read(file), name
        comments = {line.strip() for line in file.read_text().splitlines() if line.strip().startswith("#")}
        lost = comments - {line.strip() for line in text.splitlines()}
        assert not lost or name in WITHOUT_COMMENTS, (name, lost)


def test_comments_stay_with_their_keys(tmp_path: Path) -> None:
    write(tmp_path, "# The base.\nmodel:\n  # how deep\n  depth: 3  # or 4\n  width: 8\niters: 5  # few\n", "base.yml")
    own = write(tmp_path, "# Mine.\n_base_: base.yml\n\n# wide\nmodel:\n  width: 9  # wider\n  kind: b\n")
    expected = (
        "# Mine.\n\n"
        f"# From {tmp_path.name}/base.yml:\n# The base.\n\n"
        "# wide\nmodel:\n  # how deep\n  depth: 3  # or 4\n  width: 9  # wider\n  kind: b\n\n"
        "iters: 5  # few\n"
    )
    assert config_text.merged(own) == expected


def test_what_has_no_lines_of_its_own_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path, "model: {depth: 3, width: 8}\n", "base.yml")
    own = write(tmp_path, "# Mine.\n_base_: base.yml\nmodel:\n  width: 9\n")
    assert config_text.merged(own).startswith("# Mine.\n\n")
    assert yaml.safe_load(config_text.merged(own)) == {"model": {"depth": 3, "width": 9}}


def configs(*arguments: object) -> int:
    return run_command("configs", [*map(str, arguments)], prog="hrfamily configs")


def test_a_copy_is_a_config_that_trains_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert configs("--copy", "quickstart") == configs("--copy", "quickstart.yml", "--output", "other/q.yml") == 0
    assert "hrfamily train --config quickstart.yml" in capsys.readouterr().out
    copied = config_file.load("other/q.yml").dic
    assert config_file.load("quickstart.yml").dic == copied == config_file.load(PACKAGED["quickstart.yml"]).dic
    Path("quickstart.yml").write_text("mine")
    for arguments, says in (
        (["--copy", "quickstart"], "quickstart.yml is there already"),
        (["--copy", "quickstrat"], "did you mean quickstart"),
        (["--copy", "quickstart", "--output", "q.txt"], "a config's name ends in .yml"),
        (["--output", "q.yml"], "are for --copy NAME"),
    ):
        assert configs(*arguments) == 2
        assert says in capsys.readouterr().err
    assert Path("quickstart.yml").read_text() == "mine"
    assert configs("--copy", "quickstart", "--force") == 0
    assert Path("quickstart.yml").read_text() == Path("other/q.yml").read_text()


def test_paddlesegs_command_line_finds_bases_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """`python -m paddleseg.val`, with a mistake in the config that is found once its base is read."""
    own = write(tmp_path, "_base_: quickstart.yml\nbatch_size: none\n")
    monkeypatch.setattr("sys.argv", ["paddleseg.val", "--config", str(own)])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(f"{hook.MODULES}/val.py", run_name="__main__")
    assert f"{own}: batch_size must be a whole number from 1 up, and is 'none'" in capsys.readouterr().err
