"""Images as files, and requests that no library would send."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp", "TIFF": "image/tiff"}


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **options)
    return content.getvalue()


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def png_of_size(width: int, height: int) -> bytes:
    """A whole PNG whose header promises that size, of black, with a few bytes of content."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = zlib.compress(bytes(4096))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        yield connection


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: here", *lines, "", ""]).encode("latin-1")


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of what comes until the other side closes, or the body is whole."""
    received = b""
    while True:
        start, blank, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", start)
        if blank and length and len(body) >= int(length[1]):
            break
        part = connection.recv(1 << 16)
        if not part:
            break
        received += part
    return int(received.split()[1]) if received else 0, received.partition(b"\r\n\r\n")[2]
