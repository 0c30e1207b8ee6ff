"""One HTTP download that survives cuts: resumed where it stopped, checked for length, and visible only when whole."""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hrfamily_deploy.progress import progress
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

TIMEOUT_S = 30.0  # without a single byte
_CHUNK = 1 << 20
_FRUITLESS_TRIES = 2  # in a row, that brought no byte


def download(urls: list[str], target: Path) -> None:
    """Fetch the first of `urls` (mirrors of one file) that answers, to `target`; its folder exists.

    What arrived of an interrupted download stays beside `target` as `NAME.part` and is continued if the server still
    has the same file (its ETag or Last-Modified).

    Raises:
        UserError: none could be fetched whole: offline, not found, cut off again and again. One line, with what to do.
    """
    reasons = []
    for url in urls:
        try:
            return _Download(url, target).run()
        except _Failed as failure:
            reasons.append(f"{url}: {failure}")
    raise UserError(
        f"cannot download {'; '.join(reasons)}. Download it by hand, where there is a connection, "
        "and give the file's path instead"
    )


class _Failed(Exception):
    """This URL cannot be fetched; the message is the reason."""


@dataclass
class _Download:
    url: str
    target: Path

    def __post_init__(self) -> None:
        self.part = self.target.with_name(self.target.name + ".part")
        self.note = self.target.with_name(self.target.name + ".part.json")  # what the part is a part of

    def run(self) -> None:
        fruitless = 0
        while True:
            before = self._size()
            try:
                whole, reason = self._attempt(), "the connection was cut"
            except urllib.error.HTTPError as error:
                if error.code == 416 and before:  # the part is longer than the file is now
                    self._forget()
                    continue
                raise _Failed(f"the server answers {error.code} {error.reason}") from error
            except (OSError, http.client.HTTPException) as error:
                whole, reason = False, _explain(error)
            if whole:
                return self._finish()
            fruitless = 0 if self._size() > before else fruitless + 1
            if fruitless >= _FRUITLESS_TRIES:
                raise _Failed(reason)

    def _attempt(self) -> bool:
        """Ask for what is lacking and write it down. True if the file is then whole."""
        start, validator = self._size(), self._validator()
        headers = {"User-Agent": "paddle_hrfamily", "Accept-Encoding": "identity"}
        if start and validator:
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        request = urllib.request.Request(self.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            resumed = answer.status == 206 and _range_start(answer) == start
            if answer.status == 206 and not resumed:
                self._forget()
                return False
            start = start if resumed else 0
            if not resumed:
                self._remember(answer)
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length else None
            self._write(answer, start, total)
        return total is None or self._size() == total

    def _write(self, answer: http.client.HTTPResponse, start: int, total: int | None) -> None:
        name = self.target.name
        bar: tqdm[bytes] = progress(
            description=name, total=total, initial=start, unit="B", unit_scale=True, leave=False
        )
        with bar, self.part.open("ab" if start else "wb") as file:
            try:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            finally:
                file.flush()
                os.fsync(file.fileno())

    def _finish(self) -> None:
        os.replace(self.part, self.target)
        self.note.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _validator(self) -> str | None:
        try:
            note = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return None
        return note.get("validator") if note.get("url") == self.url else None

    def _remember(self, answer: http.client.HTTPResponse) -> None:
        etag = answer.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else None
        self.note.write_text(json.dumps({"url": self.url, "validator": strong or answer.headers.get("Last-Modified")}))

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _range_start(answer: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _explain(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return str(reason) or type(reason).__name__
