"""What this machine offers: cores, instructions, GPUs and installed runtimes."""

from __future__ import annotations

from importlib import metadata

from hrfamily_deploy import cpu
from hrfamily_deploy.runtime.backends import BACKENDS, Accelerators, Gpu, Hardware

__all__ = ["Gpu", "Hardware", "probe"]


def probe() -> Hardware:
    """Look at this machine. A runtime is imported only if it was built for GPUs, to see them."""
    here = cpu.read()
    runtimes: dict[str, str] = {}
    seen = Accelerators()
    for name, backend in BACKENDS.items():
        for distribution in backend.distributions:
            if version := _version(distribution):
                runtimes[name] = version
                accelerators = backend.accelerators(distribution)
                seen = accelerators if accelerators.cuda else seen
                break
    return Hardware(cores=here.cores, cpu_name=here.name, flags=here.flags, runtimes=runtimes, **vars(seen))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
