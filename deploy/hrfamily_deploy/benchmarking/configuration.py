"""What is timed: an exported folder and how it is run, written as FOLDER,backend=openvino,precision=bf16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.runtime.options import Options, Size


@dataclass(frozen=True)
class Configuration:
    """An exported folder, and how it is run.

    Attributes:
        name: what tables call it; the last two parts of the folder's path if empty.
    """

    folder: Path
    backend: str
    precision: str
    device: str
    threads: int
    tensorrt: bool = False
    name: str = ""

    @property
    def title(self) -> str:
        return self.name or "/".join(self.folder.resolve().parts[-2:])

    def options(self, batch: int = 1, sizes: Sequence[Size] = ()) -> Options:
        """How `Predictor` is to run it.

        Args:
            batch: images at a time.
            sizes: (height, width) of the images, which TensorRT needs to know.

        Raises:
            UserError: there is no such device, or precision.
        """
        return Options(
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            backend=self.backend,
            batch=batch,
            tensorrt=self.tensorrt,
            sizes=sizes if self.tensorrt else (),
        )


def parse(text: str, defaults: Configuration) -> Configuration:
    """`text` as above; what it leaves out, even the folder, is as in `defaults`, but for the name.

    Raises:
        UserError: an option that there is not, or a value of the wrong kind.
    """
    if Path(text).expanduser().exists():  # commas and all
        return replace(defaults, folder=Path(text).expanduser(), name="")
    folder, *options = text.split(",")
    changes: dict[str, Any] = {"folder": Path(folder).expanduser()} if folder else {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in _KINDS or not value:
            raise UserError(f"{text}: {option!r} is no option; there are {', '.join(f'{name}=…' for name in _KINDS)}")
        try:
            changes[key] = _KINDS[key](value)
        except (KeyError, ValueError):
            raise UserError(f"{text}: {option}: give {_WORDS[key]}") from None
    return replace(defaults, **{"name": "", **changes})


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


_KINDS: dict[str, Callable[[str], Any]] = {
    "backend": str,
    "precision": str,
    "device": str,
    "threads": _count,
    "tensorrt": {"yes": True, "no": False}.__getitem__,
    "name": str,
}
_WORDS = {"threads": "a whole number above 0", "tensorrt": "yes or no"}
