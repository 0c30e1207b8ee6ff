"""What a runtime is told of a machine, and what it must be able to say and to do.

A runtime is one file beside this one: a class derived from `Backend`, and `register(…)` of an object of it. It is
known once `backends/__init__.py` imports that file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.runtime.options import Options
from hrfamily_deploy.runtime.plan import Plan, Settings

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Gpu:
    """A graphics card: its name, compute capability ("8.6") and memory in MiB."""

    name: str
    capability: str
    memory_mb: int


@dataclass(frozen=True)
class Accelerators:
    """What an installed runtime can use beside the CPU.

    Attributes:
        cuda: whether it was built for NVIDIA GPUs.
        gpus: those that it sees, by index.
        tensorrt: version that it loads, or "".
    """

    cuda: bool = False
    gpus: tuple[Gpu, ...] = ()
    tensorrt: str = ""


@dataclass(frozen=True)
class Hardware(Accelerators):
    """What a machine offers.

    Attributes:
        cores: physical ones that this process may use.
        cpu_name: of the CPU, "" if unknown.
        flags: of the CPU, as Linux names them.
        runtimes: runtime -> version, of those that are installed.
    """

    cores: int = 1
    cpu_name: str = ""
    flags: frozenset[str] = frozenset()
    runtimes: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_bf16(self) -> bool:
        return bool(self.flags & _BF16_FLAGS)


class Runner(Protocol):
    """A graph that is loaded. One thread at a time."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        """A batch as the graph takes it -> what the graph ends in, for the caller to keep."""
        ...

    def clone(self) -> Runner:
        """The same graph for another thread; weights are shared."""
        ...


class Backend(ABC):
    """A runtime.

    Attributes:
        name: what `--backend` calls it.
        distributions: of pip that bring it, any of them; the last one is what to install on a CPU.
        cpu_precisions, gpu_precisions: those that it can compute in on a CPU and on a GPU, none where it does not run.
        speed_rank: its place among all runtimes before they are measured; the lowest is expected to be the fastest.
        takes_params: it reads the weights from the bundle's file of parameters.
        takes_tensorrt: it can compile a graph with TensorRT.
    """

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]
    cpu_precisions: ClassVar[Sequence[str]]
    gpu_precisions: ClassVar[Sequence[str]] = ()
    speed_rank: ClassVar[int]
    takes_params: ClassVar[bool] = False
    takes_tensorrt: ClassVar[bool] = False

    def precisions(self, device: str) -> Sequence[str]:
        """Those that it can compute in on "cpu" or "gpu:N"."""
        return self.cpu_precisions if device == "cpu" else self.gpu_precisions

    def accelerators(self, distribution: str) -> Accelerators:
        """What it can use beside the CPU; `distribution` is the one that is installed."""
        return Accelerators()

    @abstractmethod
    def reads(self, bundle: Bundle) -> Path | None:
        """The file that it would load of a bundle, None if there is none for it."""

    @abstractmethod
    def why_unreadable(self, bundle: Bundle) -> str:
        """Why `reads` found nothing."""

    def why_not(self, bundle: Bundle, options: Options, device: str, hardware: Hardware) -> str:
        """Why it cannot run this network there, or "". `device` is "cpu" or "gpu:N"."""
        if self.name not in hardware.runtimes:
            return f"not installed (pip install {self.distributions[-1]})"
        if self.reads(bundle) is None:
            return self.why_unreadable(bundle)
        if not self.precisions(device):
            return (
                "it runs on CPUs here; take device cpu" if self.cpu_precisions else "it runs on GPUs; take device gpu"
            )
        return ""

    def settings(self, bundle: Bundle, options: Options, device: str, hardware: Hardware) -> Settings:
        """What the plan is to say to this runtime alone. No file is read.

        Raises:
            UserError: options that it cannot follow.
        """
        return Settings()

    def notes(self, bundle: Bundle, device: str, hardware: Hardware) -> list[str]:
        """What a user should know of how it runs this network."""
        return []

    @abstractmethod
    def load(self, plan: Plan) -> Runner:
        """Load what the plan says. Whatever it raises is told to the user as the reason why it cannot."""


BACKENDS: dict[str, Backend] = {}  # by name, in the order of `--backend`'s help


def register(backend: Backend) -> None:
    """Make a runtime known. Raises ValueError if there is another one of that name."""
    if backend.name in BACKENDS:
        raise ValueError(f"there are two backends {backend.name!r}")
    BACKENDS[backend.name] = backend


def load(plan: Plan) -> Runner:
    """The network as the plan says, ready to run.

    Raises:
        UserError: the runtime cannot load it; with the runtime's own reason.
    """
    try:
        return BACKENDS[plan.backend].load(plan)
    except UserError:
        raise
    except Exception as error:  # each runtime has errors of its own, of files that are none of its graphs
        reason = " ".join(str(error).split())[-300:]
        raise UserError(f"{plan.model}: {plan.backend} {plan.version} cannot load it: {reason}") from error
