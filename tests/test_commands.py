"""`hrfamily`: which commands there are, how it answers mistakes, versions, completion, and output that nobody reads."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType

import pytest

from paddle_hrfamily import __version__
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.commands import COMMANDS, module_of, parser
from tests import tiny
from tests.test_imports import modules

OF_CONFIGS = ("train", "val", "predict", "export", "verify", "compare", "explain", "ablate")


def options(name: str) -> dict[str, argparse.Action]:
    """The actions of a command by their flags."""
    return {flag: action for action in parser(name, f"hrfamily {name}")._actions for flag in action.option_strings}


def groups(name: str) -> dict[str, list[str]]:
    """Title -> what is in each group of a command's options that is not empty."""
    found = parser(name, f"hrfamily {name}")._action_groups
    return {group.title: [action.dest for action in group._group_actions] for group in found if group._group_actions}


def test_the_commands_of_both_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"infer", "serve", "client", "benchmark", "onnx", "triton", "quantize", "ray"} <= set(COMMANDS)
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in COMMANDS:
        summary = (module_of(name).__doc__ or "").splitlines()[0]
        assert re.search(rf"(?m)^  {name} +{re.escape(summary)}$", said)


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: hrfamily COMMAND")


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("qunatize", "quantize"), ("Export", "export")])
def test_a_command_that_there_is_not(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed, "--help"]) == 2
    assert re.fullmatch(rf"error: no command '{typed}'; did you mean {meant}\b.*\?\n", capsys.readouterr().err)


def test_a_wrong_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "infer"):
        assert main([name, "--no-such-flag", "x"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"see hrfamily {name} --help" in error


def test_a_command_of_the_deploy_package_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", str(tmp_path / "nowhere"), "--dry-run"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_version_and_those_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"hrfamily {__version__} (Python {sys.version.split()[0]}, paddlepaddle")
    assert "paddleseg 2.8.0" in said


@pytest.mark.parametrize("name", OF_CONFIGS)
def test_commands_with_configs_take_plug_ins_and_changes(name: str) -> None:
    found = options(name)
    assert {"--opts", "--plugin"} <= set(found)
    parsed = argparse.Namespace()
    found["--plugin"](argparse.ArgumentParser(), parsed, "one.py")
    found["--plugin"](argparse.ArgumentParser(), parsed, "two")
    assert parsed.plugin == ["one.py", "two"]


def test_no_other_command_reads_configs() -> None:
    assert {name for name in COMMANDS if "--config" in options(name) or "--run" in options(name)} == set(OF_CONFIGS)


@pytest.mark.parametrize("name", ["train", "val", "predict", "export"])
def test_long_lists_of_options_are_in_groups(name: str) -> None:
    found = groups(name)
    assert {"config", "output"} <= set(found)
    assert found["options"] == ["help"]
    assert max(map(len, found.values())) <= 9


def test_a_plug_in_is_loaded_before_anything_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny.config(tmp_path)
    for name, arguments in (
        ("train", ["--config", config]),
        ("export", ["--config", config]),
        ("val", ["--config", config]),
    ):
        assert main([name, *map(str, arguments), "--plugin", str(tmp_path / "absent.py")]) == 2
        assert f"plug-in {tmp_path / 'absent.py'}" in capsys.readouterr().err


def test_plug_ins_are_handed_on_to_the_runs_of_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paddle_hrfamily.ablation import runs

    lines = []

    def run(children: runs.Children, log: Path, *arguments: object) -> None:
        lines.append(list(map(str, arguments)))
        raise runs.Failed("far enough")

    monkeypatch.setattr(runs.Children, "run", run)
    config = argparse.Namespace(dic={}, iters=20)
    with pytest.raises(runs.Failed, match="far enough"):
        runs.run(tmp_path, config, 0, runs.Children(plugins=("one.py", "two")))
    (line,) = lines
    assert [line[i + 1] for i, argument in enumerate(line) if argument == "--plugin"] == ["one.py", "two"]


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_their_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    for word in (*COMMANDS, "keep_checkpoint_max", "save-dir", "print-completion"):
        assert word in script


def test_bash_completes_commands_options_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    main(["--print-completion", "bash"])
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    (tmp_path / "street.yml").touch()

    def completed(*words: str) -> set[str]:
        """What the last word, half typed, can become."""
        typed = " ".join(f"'{word}'" for word in ("hrfamily", *words))
        script = (
            f"source completion; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_hrfamily; "
            "printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert completed("tr") == {"train", "trainids", "triton"}
    assert completed("train", "--keep") == {"--keep_checkpoint_max"}
    assert completed("train", "--device", "g") == {"gpu"}
    assert completed("train", "--config", "str") == {"street.yml"}
    assert "--save-dir" in completed("infer", "--sa")


def test_completion_without_shtab_names_the_extra(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert "pip install 'paddle_hrfamily[completion]'" in capsys.readouterr().err


def test_another_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["--print-completion", "bsh"]) == 2
    assert "did you mean bash" in capsys.readouterr().err


# Output that nobody reads


@pytest.mark.parametrize(
    "arguments", [("paddle_hrfamily", "list"), ("paddle_hrfamily", "--help"), ("hrfamily_deploy", "-h")]
)
def test_a_reader_that_leaves_early_is_no_error(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", *arguments]
    environment = {**tiny.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert done.returncode == 141, done.stderr
    assert "BrokenPipe" not in done.stderr and "Traceback" not in done.stderr


def test_a_closed_pipe_in_the_midst_of_work() -> None:
    code = "import sys; from hrfamily_deploy.scripts import command_line\ndef work(): raise BrokenPipeError\n"
    line = [sys.executable, "-c", f"{code}sys.exit(command_line.run(work))"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "")


# Annotations

ROOMS = (
    "commands",
    "integration",
    "evaluation",
    "inference",
    "checkpointing",
    "export",
    "ablation",
    "doctor",
    "patching",
)
# What these name they do not import: both are read before it is known whether anything heavy is needed.
LIGHT = ("paddle_hrfamily.integration.hook", "paddle_hrfamily.commands.trainids")


def annotated() -> list[str]:
    ours = [name for name in modules() if name.startswith("paddle_hrfamily.") and name.split(".")[1] in ROOMS]
    return [name for name in ours if name not in LIGHT and "paddleseg_modules" not in name]


def public_functions(module: ModuleType) -> list[object]:
    """The functions of a module, and of its classes, whose names do not begin with an underscore."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value):
            found += [f for n, f in vars(value).items() if inspect.isfunction(f) and (n == "__init__" or n[0] != "_")]
        elif inspect.isfunction(value):
            found.append(value)
    return found


@pytest.mark.skipif(sys.version_info < (3, 10), reason="X | Y is no type before Python 3.10")
@pytest.mark.parametrize("name", annotated())
def test_annotations_can_be_read(name: str) -> None:
    for function in public_functions(importlib.import_module(name)):
        typing.get_type_hints(function)
