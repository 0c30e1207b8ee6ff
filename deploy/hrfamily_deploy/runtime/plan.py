"""A plan: the whole configuration by which a network is run, to be read before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What a plan tells one runtime alone. A runtime that needs more derives a dataclass from this one."""

    def to_json(self) -> dict[str, object]:
        """The settings by name, as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """Attributes:
    model: the file that the runtime reads.
    params: the weights, of a runtime that reads them from a file of their own.
    backend, version: the runtime's.
    device: "cpu" or "gpu:N".
    precision: "fp32", "bf16" or "fp16".
    batch: images run at a time, at most.
    input_shape: (N, C, H, W), -1 where open.
    takes_images: the graph takes (N, H, W, C) of 0..255 and normalises them itself.
    input_dtype: of the graph's input, "float32" or "uint8".
    output: what the graph ends in, "labels", "probabilities" or "logits".
    threads: of the CPU.
    settings: the runtime's own.
    notes: sentences that a user should read.
    """

    model: Path
    params: Path | None
    backend: str
    version: str
    device: str
    precision: str
    batch: int
    input_shape: tuple[int, int, int, int]
    takes_images: bool
    input_dtype: str
    output: str
    threads: int
    settings: Settings
    notes: tuple[str, ...] = ()

    @property
    def gpu(self) -> int | None:
        """The index of the card, None on a CPU."""
        return gpu_index(self.device)

    def to_json(self) -> dict[str, object]:
        """What `--dry-run` prints and reports hold: all entries by name, the runtime's own among them."""
        return {
            "model": str(self.model),
            "params": None if self.params is None else str(self.params),
            "backend": self.backend,
            "version": self.version,
            "device": self.device,
            "precision": self.precision,
            "batch": self.batch,
            "input_shape": list(self.input_shape),
            "input": "pictures" if self.takes_images else "planes",
            "input_dtype": self.input_dtype,
            "output": self.output,
            "threads": self.threads,
            **self.settings.to_json(),
            "notes": list(self.notes),
        }


def gpu_index(device: str) -> int | None:
    """Of "gpu:1" 1; None of "cpu"."""
    kind, _, index = device.partition(":")
    return int(index) if kind == "gpu" else None
