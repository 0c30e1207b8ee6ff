"""What a server is started with: models by the name they have in addresses, how they are run, and limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hrfamily_deploy import bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime import hardware, planning
from hrfamily_deploy.runtime.options import Options, Size
from hrfamily_deploy.serving.limits import Limits

BATCHES_IN_HAND = 3  # one being run, one being prepared and one being encoded; further requests wait as files
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ModelSettings:
    """One model.

    Attributes:
        name: in addresses.
        load: makes its predictor, in another process: it can be pickled.
        sizes: (height, width) of images to warm up with; None for one that the network surely takes.
        pixels: of a batch, at most, unless it is a single image.
        batch_seconds: that a batch waits for images which are being prepared, at most.
    """

    name: str
    load: Callable[[], Predictor]
    sizes: Sequence[Size] | None
    pixels: int
    batch_seconds: float


@dataclass(frozen=True)
class Settings:
    """A server.

    Attributes:
        folders: of the exported networks, by name.
        options: how all of them are run.
        limits: of each process.
        batch_seconds: that a batch waits for images which are being prepared, at most.
        drain_seconds: from SIGTERM to the end.
        threads: for decoding and encoding.
        api_key: what requests must carry; None if nothing.
    """

    folders: Mapping[str, Path]
    options: Options
    limits: Limits
    batch_seconds: float
    drain_seconds: float
    threads: int
    api_key: str | None

    def check(self, here: hardware.Hardware) -> None:
        """Say what can be said without loading the models; processes that load them may still find one damaged.

        Raises:
            UserError: no such network, or it cannot be run like that on this machine.
        """
        for folder in self.folders.values():
            model = bundle.read(folder)
            planning.make(model, self.options, here)
            if model.channels not in (1, 3):
                raise UserError(f"{model.folder}: it takes {model.channels} channels, and image files have 1 or 3")

    def model(self, name: str) -> ModelSettings:
        """One of the models."""
        return ModelSettings(
            name=name,
            load=partial(Predictor, self.folders[name], **vars(self.options)),
            sizes=self.options.sizes or None,
            pixels=self.limits.pixels,
            batch_seconds=self.batch_seconds,
        )


def named(entries: Sequence[str]) -> dict[str, Path]:
    """Folders by the names they have in addresses, of entries as FOLDER or NAME=FOLDER.

    Raises:
        UserError: a name that would need quoting there, or that two have.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if not equals or Path(entry).exists():
            name, folder = "", entry
        path = Path(folder).expanduser().resolve()
        name = name or (path.parent if path.is_file() else path).name
        if not _NAME.fullmatch(name):
            raise UserError(f"{entry}: {name!r} is no name for an address; give NAME={folder}, of letters and digits")
        if name in found:
            raise UserError(f"{entry}: another model has the name {name}; give NAME={folder}")
        found[name] = path
    return found
