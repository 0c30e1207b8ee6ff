"""HTTP/1.1 as uvicorn speaks it, with a limit of time for requests' heads, and malformed requests refused in JSON."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from hrfamily_deploy.serving.refusals import Refusal

HEAD_SECONDS = 10.0


class Protocol(H11Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._close_if_idle, None)

    def _close_if_idle(self, seen: RequestResponseCycle | None) -> None:
        """Close a connection that waited for a request at the last look, and still waits for the same one."""
        if self.transport.is_closing():
            return
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is seen:
            self.transport.close()
        else:
            self.loop.call_later(HEAD_SECONDS, self._close_if_idle, self.cycle if is_waiting else None)

    def send_400_response(self, msg: str) -> None:
        answer = Refusal(400, "bad_request", msg, {"Connection": "close"}).response()
        for event in (
            h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()
