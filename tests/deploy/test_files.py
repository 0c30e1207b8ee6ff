"""Whole files or none, whatever fails between the first byte and the last rename."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from hrfamily_deploy import files
from hrfamily_deploy.errors import UserError


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_takes_its_name_when_all_is_written(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    for text in ("old", "new"):
        with files.replacing(path, durable=durable) as draft:
            draft.write_text(text)
            assert draft.suffix == ".txt" and draft.parent == path.parent
            assert not path.exists() or path.read_text() == "old"
    assert content(tmp_path) == {"deep/er/a.txt": "new"}


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file(tmp_path: Path, durable: bool, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with files.replacing(path, durable=durable) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert content(tmp_path) == {"a.txt": "old"}


def test_a_full_disk_is_one_line_with_path_and_reason(tmp_path: Path) -> None:
    def fail() -> None:
        with files.replacing(tmp_path / "a.txt") as draft:
            draft.write_text("ha")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"a\.txt: cannot be written \(No space left on device\)$"):
        fail()
    assert content(tmp_path) == {}


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/a\.txt: cannot be written"), files.replacing(tmp_path / "file/a.txt"):
        pytest.fail("there is nothing to write to")
    assert content(tmp_path) == {"file": "in the way"}


def test_errors_of_what_is_read_meanwhile_are_left_alone(tmp_path: Path) -> None:
    """gzip derives its error from the system's, and it says nothing of the file that is written."""

    def fail() -> None:
        (tmp_path / "a.gz").write_bytes(b"no archive")
        with files.replacing(tmp_path / "a.txt") as draft, gzip.open(tmp_path / "a.gz") as archive:
            draft.write_bytes(archive.read())

    with pytest.raises(gzip.BadGzipFile):
        fail()


def test_durable_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for name in ("fsync", "replace"):
        usual = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, usual=usual: done.append(name) or usual(*given))
    with files.replacing(tmp_path / "a", durable=True) as draft:
        draft.write_text("a")
    assert done == ["fsync", "replace", "fsync"]  # the file, its new name, the folder that holds the name
    with files.replacing(tmp_path / "b") as draft:
        draft.write_text("b")
    assert done[3:] == ["replace"]


def test_many_may_write_one_file_at_once(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with files.replacing(tmp_path / "a.txt") as draft:
            draft.write_text(str(number) * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (text,) = content(tmp_path).values()
    assert len(text) == 1000 and len(set(text)) == 1


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    left = files.replacing(tmp_path / "a.txt")
    left.__enter__().write_text("half")  # and there it is killed
    files.remove_drafts(tmp_path)
    assert content(tmp_path) == {"kept.txt": "kept"}
