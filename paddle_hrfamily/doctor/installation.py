"""What an installation looks like, working or not.

Versions are read from the metadata, and what could crash is imported in another process, so that a broken installation
can be looked at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily import __version__

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTIONS = (
    "paddlepaddle", "paddlepaddle-gpu", "paddleseg", "paddleslim", "numpy", "opencv-python",
    "opencv-python-headless", "scipy", "pandas", "protobuf", "visualdl", "safetensors", "huggingface_hub",
)  # fmt: skip
PACKAGE = "paddle_hrfamily"
NOT_FOR_USERS = ("all", "cpu", "gpu", "test")  # extras that say nothing about what can be done
PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 120
PROBE_WORDS = 30  # lines of a failed import that are kept


@dataclass(frozen=True)
class Facts:
    """An installation as it was found.

    `probed` has what each step of the probe answered. Where a step failed, `failure` has what ended it, then the last
    lines that it wrote. `extras` has what each extra of the package lacks, empty for one that is all there.
    """

    python: tuple[int, ...]
    versions: dict[str, str | None]
    conflicts: list[str] = field(default_factory=list)
    extras: dict[str, list[str]] = field(default_factory=dict)
    hooked: bool = True
    disabled: bool = False
    probed: dict[str, dict] = field(default_factory=dict)
    failed_step: str | None = None
    failure: list[str] = field(default_factory=list)
    gpus: list[dict[str, str]] = field(default_factory=list)
    shared_memory: int | None = None  # bytes

    @property
    def paddle(self) -> str | None:
        """Paddle's version, of whichever distribution it is."""
        return self.versions.get("paddlepaddle") or self.versions.get("paddlepaddle-gpu")


def gather() -> Facts:
    """Look at this installation. Takes some seconds, most of them to import paddle elsewhere."""
    from paddle_hrfamily.integration import hook

    versions = {PACKAGE: __version__, **{name: _version(name) for name in DISTRIBUTIONS}}
    probed, step, failure = probe() if importlib.util.find_spec("paddle") else ({}, None, [])
    return Facts(
        python=sys.version_info[:3],
        versions=versions,
        conflicts=list(_conflicts([PACKAGE, *DISTRIBUTIONS])),
        extras=extras(),
        hooked=hook.is_installed(),
        disabled=os.environ.get("PADDLE_HRFAMILY_DISABLE") == "1",
        probed=probed,
        failed_step=step,
        failure=failure,
        gpus=_gpus(),
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
    )


def probe(script: Path = PROBE) -> tuple[dict[str, dict], str | None, list[str]]:
    """Import paddle, cv2 and paddleseg in another process.

    Returns:
        What each step found; the step that failed, if one did; and the last lines that it wrote.
    """
    try:
        done = subprocess.run(
            # By its text: started by its path, the script would have its own folder at the head of sys.path.
            [sys.executable, "-c", script.read_text()], capture_output=True, text=True, timeout=PROBE_SECONDS
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}, "paddle", [f"no answer within {PROBE_SECONDS} seconds"]
    steps = [json.loads(line) for line in done.stdout.splitlines() if re.match(r'\["\w+", (null|\{.*\})\]$', line)]
    answers = {name: answer for name, answer in steps if answer is not None}
    if done.returncode == 0:
        return answers, None, []
    words = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
    crash = f"killed by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else words[-1]
    return answers, steps[-1][0] if steps else "python", [crash, *words[-PROBE_WORDS:]]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def extras() -> dict[str, list[str]]:
    """What each of the package's extras lacks; nothing where the package is not installed by pip."""
    try:
        from packaging.requirements import Requirement

        metadata_of_package = metadata.metadata(PACKAGE)
    except (ModuleNotFoundError, metadata.PackageNotFoundError):
        return {}
    names = [name for name in metadata_of_package.get_all("Provides-Extra") or () if name not in NOT_FOR_USERS]
    needs = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    return {
        extra: [need.name for need in needs if _belongs(need, extra) and not _version(need.name)] for extra in names
    }


def _belongs(need: Requirement, extra: str) -> bool:
    """Whether a requirement is one of an extra."""
    return (
        need.marker is not None and not need.marker.evaluate({"extra": ""}) and need.marker.evaluate({"extra": extra})
    )


def _conflicts(distributions: Iterable[str]) -> Iterator[str]:
    """Requirements of these distributions that another one's installed version does not meet, as pip check has them.

    Those of this package's extras count as well, where they are installed.
    """
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # too little is installed for anything to disagree
        return
    for name in filter(_version, distributions):
        named = ["", *(metadata.metadata(name).get_all("Provides-Extra") or ())] if name == PACKAGE else [""]
        for text in metadata.requires(name) or ():
            need = Requirement(text)
            have = _version(need.name)
            applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in named)
            if have and applies and not need.specifier.contains(have, prereleases=True):
                yield f"{name} {_version(name)} wants {need.name}{need.specifier}, and {have} is installed"


def _gpus() -> list[dict[str, str]]:
    """NVIDIA's own account of its GPUs, which needs no working Paddle."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = (line.rsplit(", ", 1) for line in done.stdout.splitlines()) if done.returncode == 0 else ()
    return [{"name": row[0], "capability": row[1]} for row in rows if len(row) == 2]


def numbers(version: str) -> tuple[int, ...]:
    """The first numbers of a version, for comparing: "3.3.1.post1" -> (3, 3, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
