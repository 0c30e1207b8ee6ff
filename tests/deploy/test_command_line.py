"""The commands of hrfamily_deploy: one table, one contract, three ways to call them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import command_line
from hrfamily_deploy.scripts.command_line import COMMANDS
from tests.deploy.conftest import DEPLOY, Describe
from tests.fakes import clean_environment

SCRIPTS = DEPLOY / "hrfamily_deploy" / "scripts"


def python(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    environment = clean_environment(PYTHONPATH=os.fspath(DEPLOY))
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_contract(name: str) -> None:
    module = command_line.module(name)
    summary, _, rest = module.__doc__.partition("\n\n")
    assert "\n" not in summary and f"    hrfamily {name} " in rest
    assert callable(module.run)
    helped = command_line.parser(name).format_help()
    assert f"python deploy/{COMMANDS[name]}.py " in helped and f"hrfamily {name} " not in helped
    assert f"python -m hrfamily_deploy {name} " in command_line.parser(name, f"python -m hrfamily_deploy {name}").epilog


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_is_a_few_lines(name: str, tmp_path: Path) -> None:
    file = DEPLOY / f"{COMMANDS[name]}.py"
    assert len(file.read_text().splitlines()) <= 12
    assert ast.get_docstring(ast.parse(file.read_text())) == command_line.module(name).__doc__.splitlines()[0]
    done = python(file, "--no-such-flag", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.endswith(f"see {file.name} --help\n")


def test_every_script_is_a_command() -> None:
    assert {file.stem for file in DEPLOY.glob("*.py")} == set(COMMANDS.values())
    shared = {"__init__", "command_line", "flags", "server_flags"}
    assert {file.stem for file in SCRIPTS.glob("*.py")} - shared == set(COMMANDS.values())


def test_three_ways_come_to_the_same(describe: Describe, tmp_path: Path) -> None:
    bundle = describe()
    ways = (["-m", "hrfamily_deploy", "infer"], [DEPLOY / "infer.py"], ["-m", "paddle_hrfamily", "infer"])
    plans = []
    for way in ways:
        done = python(*way, bundle, "--dry-run", "--device", "cpu", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        plans.append(json.loads(done.stdout))
    assert plans[0]["backend"] == "paddle" and plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), ([], 2)])
def test_the_package_s_own_usage(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.package_main(arguments) == status
    said = capsys.readouterr().out
    assert said.startswith("usage: python -m hrfamily_deploy COMMAND")
    for name in COMMANDS:
        assert f"  {name:<12}{command_line.module(name).__doc__.splitlines()[0]}\n" in said


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.package_main(["inffer"]) == 2
    assert capsys.readouterr().err == f"error: no command 'inffer'; there are {', '.join(COMMANDS)}\n"


def test_exit_statuses() -> None:
    def ends(error: BaseException) -> int:
        def main() -> int:
            raise error

        return command_line.run(main)

    assert command_line.run(lambda: 1) == 1
    assert ends(UserError("x")) == 2 and ends(KeyboardInterrupt()) == 130
    with pytest.raises(ZeroDivisionError):
        ends(ZeroDivisionError())


def test_summaries_cost_next_to_nothing(tmp_path: Path) -> None:
    """`hrfamily --help` shows them."""
    code = "from hrfamily_deploy.scripts.command_line import package_main as m; m(['--help']); import sys\n"
    heavy = ("numpy", "cv2", "paddle", "PIL", "yaml", "tqdm", "fastapi", "requests", "ray")
    done = python("-c", f"{code}print(sorted({set(heavy)!r} & set(sys.modules)))", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
