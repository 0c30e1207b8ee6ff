"""Whole files or none: whatever fails or is killed, a reader finds the old file or the new one, never a part of it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from hrfamily_deploy.errors import UserError

_DRAFT = ".draft-"


class Unwritable(UserError):
    """A file or its folder cannot be written; `reason` is the system's, as "No space left on device"."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: cannot be written ({self.reason})"


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A new path beside `path` to write a file to, which takes the place of `path` when the `with` ends well.

    If something fails within, the draft is removed and `path` stays as it was. Missing folders are made. The draft has
    the suffix of `path`, by which some libraries choose the format.

    Args:
        durable: have all of it on the disk before it takes its place, so that it also survives a loss of power.

    Raises:
        Unwritable: the file or a folder cannot be written. It is a UserError.
    """
    draft = path.with_name(f"{_DRAFT}{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        if durable:
            _flush(draft)
        os.replace(draft, path)
        if durable:
            _flush(path.parent)  # the new name itself
    except OSError as error:
        if error.errno is None:  # not the system's: libraries derive errors of their own, of what they read
            raise
        raise Unwritable(path, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def remove_drafts(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder. No one else may be writing there."""
    for draft in folder.glob(f"{_DRAFT}*"):
        draft.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
