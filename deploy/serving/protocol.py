"""HTTP/1.1 as uvicorn speaks it, with errors in JSON as all others, and a limit of time for requests' heads."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from serving.refusals import Refusal

HEAD_SECONDS = 10.0


class Protocol(H11Protocol):
    """Of one connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._look, None)

    def _look(self, seen: RequestResponseCycle | None) -> None:
        """Close a connection that since the last look has got no further than to wait for a request."""
        if self.transport.is_closing():
            return
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is seen:
            self.transport.close()
        else:
            self.loop.call_later(HEAD_SECONDS, self._look, self.cycle if is_waiting else None)

    def send_400_response(self, msg: str) -> None:
        answer = Refusal(400, "bad_request", msg, {"Connection": "close"}).response()
        for event in (
            h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()
