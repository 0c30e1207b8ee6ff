"""The models of a server that runs elsewhere (`serve`), from Python.

    with Client("http://127.0.0.1:8000") as client:
        label = client.segment("street.jpg")                    # (H, W) uint8
        shares = client.segment(rgb, output="json")["classes"]

It needs no runtime.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.imaging.confidence import MEASURES
from hrfamily_deploy.serving.outputs import OUTPUTS, Decoded, Output

if TYPE_CHECKING:
    from requests import Response, Session
    from urllib3.response import BaseHTTPResponse

_CONNECT_SECONDS = 5.0
_LONGEST_WAIT = 60.0  # seconds before a further attempt, whatever the server says


class ServerError(UserError):
    """The server's refusal: its status of HTTP, its word for the reason, its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"the server refuses ({status} {reason}): {message}")
        self.status, self.reason = status, reason


class Client:
    """A server's models. Threads may share it.

    Args:
        url: of the server, such as http://127.0.0.1:8000.
        api_key: if the server wants one.
        timeout: seconds that the server may be silent.
        retries: further attempts while it is busy (429, 503), each after the time that it asks for.
        connections: kept open, for as many threads.

    Raises:
        UserError: not an address, or `requests` is missing.
    """

    def __init__(
        self, url: str, api_key: str | None = None, timeout: float = 60.0, retries: int = 10, connections: int = 1
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url!r} is not the address of a server, such as http://127.0.0.1:8000")
        self.url, self.timeout = url.rstrip("/"), timeout
        self._session = _session(retries, connections)
        if api_key:
            self._session.headers["X-API-Key"] = api_key

    def models(self) -> list[dict[str, Any]]:
        """The server's models, each with its `name` and `classes` (id, name, color).

        Raises:
            UserError: no answer, or a refusal (ServerError).
        """
        return _models(self._ask("GET", "/v1/models"))

    def segment(
        self,
        image: image_files.ImageLike,
        model: str | None = None,
        output: str = "labels",
        opacity: float = 0.4,
        *,
        measure: str = MEASURES[0],
        unsure: float | None = None,
    ) -> Decoded:
        """One image: a path, a file's content, or an array (H, W, 3) RGB or (H, W) grey uint8.

        Args:
            model: its name; needed where the server has several.
            output: "labels"; "overlay"; "json" of shares and runs; "confidence"; or another one of `serving.outputs`.
            opacity: of an overlay's colours, 0..1.
            measure: of confidence: one of `imaging.confidence.MEASURES`.
            unsure: its threshold, 0..1; pixels on the wrong side are unsure, which is 255 in label maps. None: none is.

        Returns:
            Labels as (H, W) class numbers, uint8 or of more than 256 classes uint16; an overlay as (H, W, 3) RGB uint8;
            confidence as (H, W) float32 of 0..1; JSON as a dictionary.

        Raises:
            UserError: no image, no answer, or a refusal (ServerError).
        """
        content, _ = self.fetch(image, model, output, opacity, measure=measure, unsure=unsure, lossless=True)
        return _output(output).decode(content)

    def fetch(
        self,
        image: image_files.ImageLike,
        model: str | None = None,
        output: str = "labels",
        opacity: float = 0.4,
        *,
        measure: str = MEASURES[0],
        unsure: float | None = None,
        lossless: bool = False,
    ) -> tuple[bytes, str]:
        """As `segment`, but the file as it came, and its suffix: an overlay is a JPEG, or PNG if `lossless`."""
        form = _output(output)
        path = f"/v1/models/{quote(model or self.only_model(), safe='')}/segment"
        headers = {"Accept": form.accept(lossless)}
        params = {"output": output, "opacity": opacity, "measure": measure, "unsure": unsure}
        response = self._ask("POST", path, data=_content(image), params=params, headers=headers)
        media_type = response.headers.get("Content-Type", "").partition(";")[0]
        return response.content, form.media_types.get(media_type, ".bin")

    def only_model(self) -> str:
        """The name of the server's model.

        Raises:
            UserError: it has several; no answer, or a refusal (ServerError).
        """
        names = [entry["name"] for entry in self.models()]
        if len(names) != 1:
            raise UserError(f"{self.url} has {len(names)} models; name one of them: {', '.join(names)}")
        return names[0]

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, path: str, **content: Any) -> Response:
        try:
            response = self._session.request(
                method, self.url + path, timeout=(min(_CONNECT_SECONDS, self.timeout), self.timeout), **content
            )
        except OSError as error:  # what all of the library's errors are
            reason = str(error).rpartition(": ")[2].rstrip("')\"")
            raise UserError(f"{self.url}: no answer ({reason})") from None
        if response.ok:
            return response
        raise _refusal(response)


def _output(name: str) -> Output:
    if name not in OUTPUTS:
        raise UserError(f"no output {name!r}; there are {', '.join(OUTPUTS)}")
    return OUTPUTS[name]


def _content(image: image_files.ImageLike) -> bytes:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, np.ndarray):
        encoded = io.BytesIO()
        pixels = image_files.decode(image, 1 if image.ndim == 2 else 3)
        Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
        return encoded.getvalue()
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise UserError(f"{image}: {error.strerror}") from None


def _session(retries: int, connections: int) -> Session:
    try:
        import requests
        from urllib3.util import Retry
    except ImportError:
        raise UserError(
            "the client needs requests: pip install 'paddle_hrfamily[serve]', or pip install requests"
        ) from None

    class Patience(Retry):
        """Waits as long as a busy server says, within reason."""

        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            wait = super().get_retry_after(response)
            return None if wait is None else min(wait, _LONGEST_WAIT)

    # An image is not sent again where a connection fails: the address is wrong, or the image broke the server.
    patience = Patience(
        total=retries,
        connect=0,
        read=0,
        other=0,
        status_forcelist=(429, 503),
        allowed_methods=None,
        backoff_factor=0.2,
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=connections, max_retries=patience))
    return session


def _refusal(response: Response) -> ServerError:
    try:
        error = response.json()["error"]
        return ServerError(response.status_code, error["reason"], error["message"])
    except (ValueError, KeyError, TypeError):  # a proxy, or another server
        return ServerError(response.status_code, response.reason or "unknown", f"{response.url} gave no reason")


def _models(response: Response) -> list[dict[str, Any]]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or "models" not in found:
        raise UserError(f"{response.url} does not answer as serve.py does")
    return found["models"]
