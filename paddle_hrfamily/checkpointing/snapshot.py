"""A checkpoint on disk: files that appear whole or not at all, and a state file, written last, with their checksums.

output/iter_1000/model.pdparams    parameters
                 model.pdopt       optimizer and learning-rate schedule
                 ema_model.pdparams  with --use_ema
                 config.yml        the whole config, if the run has one
                 state.json        iteration, seed, best mIoU, and size and CRC-32 of the others
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from paddle_hrfamily.files import remove_drafts, replacing, write_json, write_text

STATE_FILE = "state.json"
CONFIG = "config.yml"
PARAMETERS, OPTIMIZER, EMA_PARAMETERS = "model.pdparams", "model.pdopt", "ema_model.pdparams"


class Broken(Exception):
    """The folder is no whole checkpoint; the message says what is wrong with it."""


@dataclass
class State:
    """What a run must know, beside the tensors, to go on as if it had never stopped.

    `seed` is None in checkpoints that PaddleSeg alone has written. `best` maps "best_model" and "ema_best_model" to
    (iteration, mIoU), `stale` counts the evaluations since. `samples`, `batch_size` (of a whole step, accumulated) and
    `ranks` fix the data order; `scaler` is the fp16 loss scaler's.
    """

    iteration: int
    seed: int | None = None
    samples: int | None = None
    batch_size: int | None = None
    ranks: int | None = None
    best: dict[str, tuple[int, float]] = field(default_factory=dict)
    stale: int = 0
    scaler: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


def begin(folder: Path) -> None:
    """Declare the folder unfinished, so that a kill from here to `seal` cannot leave something that looks whole."""
    write_json(folder / STATE_FILE, {"complete": False})
    remove_drafts(folder)  # of a process that was killed while it wrote here


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the whole config beside the weights."""
    content = yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
    write_text(folder / CONFIG, content)


def seal(folder: Path, state: State, names: tuple[str, ...]) -> None:
    """Write the state, with the checksums of the files `names` of the folder; from then on `read` accepts it."""
    state.files = {name: _fingerprint(folder / name) for name in names}
    write_json(folder / STATE_FILE, {"complete": True, **asdict(state)})


def read(folder: Path) -> State:
    """The state of a whole checkpoint, every byte of which was compared with its checksum.

    An `iter_N` folder without a state file, as PaddleSeg alone writes it, is accepted as it is.

    Raises:
        Broken: anything is missing, unfinished, or not what was written.
    """
    try:
        content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _without_state(folder)
    except (OSError, ValueError) as error:
        raise Broken(f"{STATE_FILE} cannot be read: {error}") from error
    if content.pop("complete", False) is not True:
        raise Broken("writing it was interrupted")
    try:
        state = State(**content)
    except TypeError as error:
        raise Broken(f"{STATE_FILE} has other keys than this version writes: {error}") from error
    for name, expected in state.files.items():
        if not (folder / name).is_file():
            raise Broken(f"{name} is missing")
        if _fingerprint(folder / name) != tuple(expected):
            raise Broken(f"{name} differs from its checksum")
    return state


def checkpoints(save_dir: Path) -> list[tuple[int, Path]]:
    """Every `iter_N` folder, whole or not, with its N, in order."""
    found = []
    for folder in save_dir.glob("iter_*"):
        with contextlib.suppress(ValueError):
            found.append((int(folder.name[len("iter_") :]), folder))
    return sorted(found)


def newest(save_dir: Path) -> Iterator[tuple[Path, State | Broken]]:
    """The checkpoints of `save_dir`, newest first, each read, or with the reason why it is broken."""
    for _, folder in reversed(checkpoints(save_dir)):
        try:
            yield folder, read(folder)
        except Broken as reason:
            yield folder, reason


def publish(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Put `names` of one checkpoint into another folder, each whole; as hard links where the file system has them."""
    remove_drafts(target)
    for name in names:
        with replacing(target / name, durable=True) as draft:
            _link_or_copy(source / name, draft)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _without_state(folder: Path) -> State:
    prefix, _, iteration = folder.name.rpartition("_")
    if prefix != "iter" or not iteration.isdigit():
        raise Broken(f"it has no {STATE_FILE}, and its name is not iter_N")
    for name in (PARAMETERS, OPTIMIZER):
        if not (folder / name).is_file():
            raise Broken(f"{name} is missing")
    return State(iteration=int(iteration))


def _fingerprint(path: Path) -> tuple[int, int]:
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return size, checksum
