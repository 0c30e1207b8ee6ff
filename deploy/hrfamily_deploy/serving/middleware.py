"""What is done around the application for every request: a number, a line in the log, headers, and reading the body
to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hrfamily_deploy.serving.refusals import Refusal

access, log = logging.getLogger("hrfamily.access"), logging.getLogger("hrfamily")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The documentation's pages have scripts in line; nothing comes from elsewhere.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'",
}
_MOST_DRAINED_BYTES = 64 << 20
_MOST_DRAINED_SECONDS = 2.0


@dataclass
class Note:
    """What an endpoint tells the log and the metrics of a request: its model, if it is about one."""

    model: str | None = None


class Records:
    """Gives each request a number, unless the client gave one, logs it as a line of JSON, and counts those of models.

    Endpoints find the Note in `request.state.note`.
    """

    def __init__(self, app: ASGIApp, count: Callable[[str, int, float], None]) -> None:
        self._app, self._count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, note, status, size = time.perf_counter(), Note(), 0, 0
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["state"] = {**scope.get("state", {}), "note": note}

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            log.exception("request %s", request_id)
            if status:  # too late for another answer
                raise
            await Refusal(500, "internal", "see the server's log").response()(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - begun
            if note.model is not None:
                self._count(note.model, status, seconds)
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "id": request_id,
                "client": (scope.get("client") or ("",))[0],
                "method": scope["method"],
                "path": scope["path"][:200],
                "model": note.model,
                "status": status,
                "bytes": size,
                "ms": round(1000 * seconds, 1),
            }
            access.info(json.dumps({key: value for key, value in line.items() if value is not None}))


class DrainRequestBody:
    """Reads the rest of a body after a response that was sent before its end, as that to a body which is too large.

    Many clients read no response while they send. If the server closed the connection at once, they would see a reset
    connection instead of the response. So the rest is read and dropped, up to a limit of bytes and seconds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        is_expected = headers.get("expect", "").lower() == "100-continue"
        is_received = not has_body

        async def receiving() -> Message:
            nonlocal is_received, is_expected
            is_expected = False
            message = await receive()
            is_received = is_received or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            is_end = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not is_end or is_received or is_expected:  # a client that asks first has sent nothing yet
                await send(message)
                return
            await send({**message, "more_body": True})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_drop(receive), _MOST_DRAINED_SECONDS)
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, receiving, sending)


async def _drop(receive: Receive) -> None:
    size = 0
    while size < _MOST_DRAINED_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return
