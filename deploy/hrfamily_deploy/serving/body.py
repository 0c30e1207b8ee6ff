"""Reading a request's body, raw or as a form. The limits of bytes and seconds are checked while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from hrfamily_deploy.serving.limits import Limits
from hrfamily_deploy.serving.refusals import Refusal

RAW = ("application/octet-stream", "image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")
FORM = "multipart/form-data"
FIELD = "image"
_MOST_FIELDS = 16
_FIELD_BYTES = 1 << 16


async def read(request: Request, limits: Limits) -> bytes:
    """The image's file.

    Raises:
        Refusal: the body is too large, arrives too slowly, has another type or no image, or the form is malformed.
    """
    media_type = request.headers.get("content-type", RAW[0]).partition(";")[0].strip().lower()
    if media_type not in (*RAW, FORM):
        message = f"Content-Type {media_type[:100]!r}: send one of {', '.join(RAW)}, or {FORM} with a file {FIELD!r}"
        raise Refusal(415, "unsupported_type", message)
    _check_length(request.headers.get("content-length", "0"), limits)
    chunks = _limited(request.stream(), limits)
    reading = _of_form(request, chunks, limits) if media_type == FORM else _joined(chunks)
    try:
        data = await asyncio.wait_for(reading, limits.body_seconds)
    except asyncio.TimeoutError:
        message = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise Refusal(408, "slow_body", message, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(499, "client_gone", "the client closed the connection") from None
    if not data:
        raise Refusal(422, "empty", "the image has no bytes")
    return data


def _check_length(declared: str, limits: Limits) -> None:
    if declared.isdecimal() and int(declared) > limits.body:
        raise _too_large(limits)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, "too_large", f"the body has more than the {limits.body} bytes that are taken")


async def _limited(chunks: AsyncIterator[bytes], limits: Limits) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limits.body:
            raise _too_large(limits)
        yield chunk


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk
    return bytes(content)


async def _of_form(request: Request, chunks: AsyncGenerator[bytes, None], limits: Limits) -> bytes:
    parser = MultiPartParser(request.headers, chunks, max_files=1, max_fields=_MOST_FIELDS, max_part_size=_FIELD_BYTES)
    parser.spool_max_size = limits.body  # in memory: nothing of a request is written to a disk
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:
        message = getattr(error, "message", None) or "it cannot be parsed"
        raise Refusal(422, "bad_form", f"the form is malformed: {message}") from None
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise Refusal(422, "no_file", f"the form has no file {FIELD!r}; curl -F {FIELD}=@street.jpg sends one")
        return await file.read()
    finally:
        await form.close()
