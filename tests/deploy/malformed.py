"""Requests that are wrong in every way there is, against a server of its own.

python -m tests.deploy.malformed output/exported street.jpg --requests 2000

Prints how they were answered, and what memory the server held before and after; status 1 if a rule is broken.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import struct
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from tests.deploy.http_tools import MEDIA_TYPES, answer, connected, encoded, head, png_of_size
from tests.deploy.server_process import Server, memory, started

PATH, RAW, FORM = "/v1/models/street/segment", "application/octet-stream", "multipart/form-data; boundary=b"
BODY_SECONDS = 1
NO_ANSWER = 0  # the connection was closed, by one side or the other
_FIRST_PART = 0.25  # of the requests, before memory is measured: until then caches fill
_MORE_MEMORY = 24 << 20
_AT_A_TIME = 8
_OTHER_FORMATS = (b"GIF89a", b"%PDF-1.7", b"PK\x03\x04", b"<svg xmlns=", b"\x7fELF", b"\0\0\0\x0cjP  ", b"P6 9 9 255\n")
_OTHER_TYPES = ("text/html", "application/json", "image/gif", "\x01", "multipart/form-data")
_SIZES = ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (10**6, 10**6), (0, 0), (2**16 - 1, 2**16 - 1))
_TRICKS = (
    *("../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e", "....//....//", "street/../street", "//etc"),
    *("C:\\windows", "file:///etc/passwd", "%00", "street%00.png", "\xff\xfe", "a" * 3000, "${HOME}", "street;ls"),
)
_BAD_QUERIES = ("?opacity=nan", "?opacity=-1", "?output=", "?opacity=1e999", "?output=%ff")
_BAD_FORMS = ("multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 300}")

Random = random.Random


@dataclass(frozen=True)
class Bad:
    """What to send, with pauses between its parts; and whether to hang up instead of listening."""

    parts: list[bytes]
    pause: float = 0.0
    hangs_up: bool = False


@dataclass
class Report:
    """Of all requests: kind -> status -> how many."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    before: int = 0
    after: int = 0
    survived: bool = False
    still_good: bool = False

    def faults(self) -> list[str]:
        """What is not as it must be."""
        found = [
            f"{kind}: {count} answers of {status}"
            for kind, counts in self.statuses.items()
            for status, count in counts.items()
            if status >= 500 and status != 504
        ]
        if not self.survived:
            found.append("a process has died")
        if not self.still_good:
            found.append("the next good request fails")
        if self.after - self.before > _MORE_MEMORY:
            found.append(f"memory grew by {(self.after - self.before) >> 20} MiB")
        return found


def request(body: bytes, media_type: str = RAW, path: str = PATH, length: int | None = None) -> bytes:
    declared = len(body) if length is None else length
    return head(path, f"Content-Type: {media_type}", f"Content-Length: {declared}") + body


def form(content: bytes, name: bytes = b"image", filename: bytes = b"a.png", end: bytes = b"--b--\r\n") -> bytes:
    fields = b'Content-Disposition: form-data; name="' + name + b'"; filename="' + filename + b'"'
    return b"--b\r\n" + fields + b"\r\nContent-Type: image/png\r\n\r\n" + content + b"\r\n" + end


def truncated(chance: Random, good: bytes) -> Bad:
    kind = chance.choice(list(MEDIA_TYPES))
    whole = encoded(np.array(Image.open(io.BytesIO(good)).convert("RGB").resize((64, 48))), kind)
    return Bad([request(whole[: chance.randrange(1, len(whole))], MEDIA_TYPES[kind])])


def damaged(chance: Random, good: bytes) -> Bad:
    content = bytearray(good)
    for _ in range(chance.choice([1, 10, 200])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return Bad([request(bytes(content), "image/jpeg")])


def wrong_type(chance: Random, good: bytes) -> Bad:
    media_type = chance.choice([*MEDIA_TYPES.values(), *_OTHER_TYPES])
    return Bad([request(chance.choice(_OTHER_FORMATS) + chance.randbytes(200), media_type)])


def huge(chance: Random, good: bytes) -> Bad:
    """A header that promises more pixels than there may be, of any format."""
    width, height = chance.choice(_SIZES)
    kind = chance.choice(["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
    if kind == "PNG":
        return Bad([request(png_of_size(width, height), "image/png")])
    content = bytearray(encoded(np.zeros((16, 16, 3), np.uint8), kind))
    if kind == "JPEG":
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    elif kind == "WEBP":
        content[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    else:
        for tag, value in ((256, width), (257, height)):
            start = re.search(struct.pack("<H", tag) + b"[\3\4]\0\1\0\0\0", content).start()
            content[start : start + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return Bad([request(bytes(content), MEDIA_TYPES[kind])])


def empty(chance: Random, good: bytes) -> Bad:
    body = chance.choice([b"", bytes(1), bytes(10_000)])
    return Bad([chance.choice([request(body), request(form(body), FORM)])])


def path_tricks(chance: Random, good: bytes) -> Bad:
    trick = chance.choice(_TRICKS)
    if chance.random() < 0.5:
        paths = [f"/v1/models/{trick}/segment", f"/{trick}", f"/static-offline-docs/{trick}", f"{PATH}?output={trick}"]
        return Bad([request(good, "image/jpeg", chance.choice(paths))])
    raw = trick.encode("latin-1")
    return Bad([request(form(chance.randbytes(50), chance.choice([b"image", raw]), raw), FORM)])


def slow(chance: Random, good: bytes) -> Bad:
    whole = request(good, "image/jpeg")
    parts = [whole[:200], *[whole[at : at + 1] for at in range(200, 210)]]
    return Bad(parts, BODY_SECONDS / 4)


def hung_up(chance: Random, good: bytes) -> Bad:
    whole = request(good, "image/jpeg")
    return Bad([whole[: chance.choice([10, 100, 300, len(whole)])]], hangs_up=True)


def bad_form(chance: Random, good: bytes) -> Bad:
    part = form(chance.randbytes(100))
    body = chance.choice(
        [
            part[: chance.randrange(len(part))],
            part.replace(b"name=", b"nome="),
            part.replace(b"\r\n", b"\n"),
            form(b"", end=b"") * 5 + b"--b--",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + bytes(100_000) + b"\r\n--b--",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 200 + b"--b--",
            b"--b\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n1\r\n--b--",
            chance.randbytes(300),
            b"--b--b--b" * 50,
            form(good, b"picture"),
        ]
    )
    return Bad([request(body, chance.choice([FORM] * 5 + list(_BAD_FORMS)))])


def noise(chance: Random, good: bytes) -> Bad:
    return Bad([request(chance.randbytes(chance.randrange(1, 5000)), chance.choice(list(MEDIA_TYPES.values())))])


def bad_http(chance: Random, good: bytes) -> Bad:
    start = f"POST {PATH} HTTP/1.1\r\nHost: here\r\n".encode()
    return chance.choice(
        [
            Bad([chance.randbytes(200) + b"\r\n\r\n"]),
            Bad([request(good, "image/jpeg", length=50)]),
            Bad([request(good, "image/jpeg", length=1 << 40)]),
            Bad([start + b"Content-Length: -1\r\n\r\n"]),
            Bad([start + b"Content-Length: nine\r\n\r\n"]),
            Bad([start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
            Bad([start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"]),
            Bad([start + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab"], hangs_up=True),
            Bad([start + b"X: " + b"y" * 200_000 + b"\r\n\r\n"]),
            Bad([start + b"X\0Y: 1\r\n\r\n"]),
            Bad([request(b"").replace(b"POST", chance.choice([b"GET", b"PUT", b"BREW", b"OPTIONS"]))]),
            Bad([request(good, path=PATH + chance.choice(_BAD_QUERIES))]),
            Bad([start + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"]),
        ]
    )


KINDS: dict[str, Callable[[Random, bytes], Bad]] = {
    function.__name__.replace("_", " "): function
    for function in (truncated, damaged, wrong_type, huge, empty, path_tricks, slow, hung_up, bad_form, noise, bad_http)
}


def send(url: str, bad: Bad) -> int:
    """The status that it is answered with."""
    try:
        with connected(url) as connection:
            for number, part in enumerate(bad.parts):
                time.sleep(bad.pause if number else 0)
                connection.sendall(part)
            return NO_ANSWER if bad.hangs_up else answer(connection)[0]
    except ConnectionError:
        return NO_ANSWER


def attack(server: Server, good: bytes, count: int, seed: int = 0) -> Report:
    """Send so many, all kinds in turn, several at a time."""
    report, kinds = Report(), list(KINDS)
    first = int(count * _FIRST_PART)

    def one(number: int) -> tuple[str, int]:
        kind = kinds[number % len(kinds)]
        return kind, send(server.url, KINDS[kind](Random(f"{seed} {number}"), good))

    _is_good(server, good)
    processes = server.family()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for numbers in (range(first), range(first, count)):
            for kind, status in pool.map(one, numbers):
                report.statuses[kind][status] += 1
            if not report.before:
                report.before = memory(server.family())
    report.still_good = _is_good(server, good)
    report.survived = server.family() == processes
    report.after = memory(server.family())
    return report


def _is_good(server: Server, good: bytes) -> bool:
    with io.BytesIO(good) as file, Image.open(file) as image:
        size = image.size
    response = requests.post(server.url + PATH, good, headers={"Content-Type": "image/jpeg"}, timeout=60)
    with Image.open(io.BytesIO(response.content)) as label:
        return response.ok and label.size == size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an exported network")
    parser.add_argument("picture", type=Path, help="a JPEG")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    begun = time.monotonic()
    with started(f"street={args.folder}", "--body-seconds", BODY_SECONDS) as server:
        report = attack(server, args.picture.read_bytes(), args.requests, args.seed)
    for kind, counts in report.statuses.items():
        print(f"{kind:<12} " + "  ".join(f"{status or 'none'}: {counts[status]}" for status in sorted(counts)))
    total, seconds = sum(sum(counts.values()) for counts in report.statuses.values()), time.monotonic() - begun
    print(f"{total} requests in {seconds:.0f} s; memory {report.before >> 20} -> {report.after >> 20} MiB")
    faults = report.faults()
    print("; ".join(faults) or "no crash, no 5xx but 504, and the next good request succeeds")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
