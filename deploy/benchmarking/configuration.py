"""What is timed: an exported folder and how it is run, written as FOLDER,backend=openvino,precision=bf16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from errors import UserError


@dataclass(frozen=True)
class Configuration:
    """A folder, and options of `Predictor`; `name` is what tables call it, the folder's own two last parts if empty."""

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

    def options(self) -> dict[str, object]:
        """As `Predictor` takes them."""
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "name")}


def parse(text: str, defaults: Configuration) -> Configuration:
    """`text` as above; what it leaves out, even the folder, is as in `defaults`, but for the name.

    Raises:
        UserError: an option that there is not, or a value of the wrong kind.
    """
    if Path(text).expanduser().exists():  # commas and all
        return replace(defaults, folder=Path(text).expanduser(), name="")
    folder, *options = text.split(",")
    changes: dict[str, object] = {"folder": Path(folder).expanduser()} if folder else {}
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


_KINDS: dict[str, Callable[[str], object]] = {
    "backend": str,
    "precision": str,
    "device": str,
    "threads": _count,
    "tensorrt": {"yes": True, "no": False}.__getitem__,
    "name": str,
}
_WORDS = {"threads": "a whole number above 0", "tensorrt": "yes or no"}
