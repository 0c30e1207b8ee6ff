"""How a user may ask for a network to be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hrfamily_deploy.errors import UserError

PRECISIONS = ("fp32", "bf16", "fp16")
DEVICES = "auto, cpu, gpu or gpu:N"
AUTO = "auto"

Size = tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True)
class Options:
    """What a user may ask for.

    Attributes:
        device: "auto" (a GPU if one is seen), "cpu", "gpu" or "gpu:N".
        precision: "fp32", "bf16" (CPUs that have it) or "fp16" (GPUs).
        threads: of the CPU; all physical cores if None.
        backend: the name of a runtime, or "auto", the fastest of those that can run the network (see `autotune`).
        batch: images run at a time, at most.
        tensorrt: compile the graph for this GPU with TensorRT.
        sizes: (height, width) that TensorRT's engine is to take, where the graph leaves them open.
        gpu_memory_mb: to take at once.
        cache: folder for compiled engines and the record of times; beside the graph if None.

    Raises:
        UserError: a value that is out of its range, or a name that there is not.
    """

    device: str = AUTO
    precision: str = "fp32"
    threads: int | None = None
    backend: str = "paddle"
    batch: int = 1
    tensorrt: bool = False
    sizes: Sequence[Size] = ()
    gpu_memory_mb: int = 1024
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "batch", "gpu_memory_mb"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UserError(f"{name} {value!r} must be a whole number above 0")
        if any(len(size) != 2 or min(size) < 1 for size in self.sizes):
            raise UserError(f"sizes {list(self.sizes)!r} must be pairs of height and width")
        if self.precision not in PRECISIONS:
            raise UserError(f"no precision {self.precision!r}; there are {', '.join(PRECISIONS)}")
        kind, _, index = self.device.partition(":")
        if kind not in (AUTO, "cpu", "gpu") or (index and (kind != "gpu" or not index.isdecimal())):
            raise UserError(f"no device {self.device!r}; there are {DEVICES}")
