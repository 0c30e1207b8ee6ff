"""What this machine offers: cores, instructions, GPUs and installed runtimes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

# A runtime -> the distributions that bring it, the one for GPUs first.
DISTRIBUTIONS = {
    "paddle": ("paddlepaddle-gpu", "paddlepaddle"),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "openvino": ("openvino",),
}
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Gpu:
    """A graphics card: its name, compute capability ("8.6") and memory in MiB."""

    name: str
    capability: str
    memory_mb: int


@dataclass(frozen=True)
class Machine:
    """Attributes:
    cores: physical ones that this process may use.
    processor: its name.
    flags: of the processor, as Linux names them.
    runtimes: runtime -> version, of those that are installed.
    cuda: whether Paddle was built for NVIDIA GPUs.
    gpus: those that Paddle sees, by index.
    tensorrt: version that Paddle loads, or "".
    """

    cores: int
    processor: str = ""
    flags: frozenset[str] = frozenset()
    runtimes: dict[str, str] = field(default_factory=dict)
    cuda: bool = False
    gpus: tuple[Gpu, ...] = ()
    tensorrt: str = ""

    def is_paddle(self, version: str) -> bool:
        """Whether the Paddle here is of the versions that begin so, as "3."."""
        return self.runtimes.get("paddle", "").startswith(version)

    @property
    def has_bf16(self) -> bool:
        return bool(self.flags & _BF16_FLAGS)


def probe() -> Machine:
    """Look. Paddle is imported only where it was built for GPUs."""
    found = {name: next(filter(_version, options), None) for name, options in DISTRIBUTIONS.items()}
    cuda = (found["paddle"] or "").endswith("-gpu")
    gpus, tensorrt = (), ""
    if cuda:
        import paddle_backend

        gpus, tensorrt = paddle_backend.gpus(), paddle_backend.tensorrt_version()
    processors = _processors(Path("/proc/cpuinfo"))
    return Machine(
        cores=usable_cores(processors),
        processor=processors[0].get("model name", "") if processors else "",
        flags=frozenset(processors[0].get("flags", "").split()) if processors else frozenset(),
        runtimes={name: _version(distribution) for name, distribution in found.items() if distribution},
        cuda=cuda,
        gpus=gpus,
        tensorrt=tensorrt,
    )


def usable_cores(processors: list[dict[str, str]], quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Physical cores, or fewer where the process is bound to some processors or a container has a quota."""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pairs = {(entry.get("physical id"), entry.get("core id")) for entry in processors if "core id" in entry}
    return max(1, min(len(pairs) or logical, logical, _quota(quota_file) or logical))


def _quota(file: Path) -> int | None:
    try:
        limit, period = file.read_text().split()[:2]
        return None if limit == "max" else max(1, int(limit) // int(period))
    except (OSError, ValueError):
        return None


def _processors(cpuinfo: Path) -> list[dict[str, str]]:
    try:
        blocks = cpuinfo.read_text().strip().split("\n\n")
    except OSError:  # not Linux
        return []
    lines = [[line.partition(":") for line in block.splitlines()] for block in blocks]
    return [{name.strip(): value.strip() for name, _, value in block} for block in lines]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
