"""Segment pictures with a server that runs elsewhere (serve.py): label maps, overlays, or JSON.

    python deploy/client.py http://127.0.0.1:8000                                    # the models it has
    python deploy/client.py http://127.0.0.1:8000 street.jpg --output overlay
    python deploy/client.py http://127.0.0.1:8000 folder/ more.png --model camvid --concurrency 4 --save-dir result

In Python, with deploy/ on sys.path:

    client = Client("http://127.0.0.1:8000")
    label = client.segment("street.jpg")                    # (H, W) uint8
    shares = client.segment(rgb, output="json")["classes"]

The exit status is 0; 1 where the server refused some of the pictures; 2 for what cannot be done at all.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import errors
import numpy as np
import pictures
from errors import UserError
from PIL import Image
from tqdm import tqdm

OUTPUTS = ("labels", "overlay", "json")
KEY = "HRFAMILY_API_KEY"  # environment variable; what is on a command line, all users of a machine can see
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "application/json": ".json"}
_OF_ONE_PICTURE = (400, 413, 415, 422, 504)  # refusals that say nothing of the next picture
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
        self, image: pictures.Picture, model: str | None = None, output: str = "labels", opacity: float = 0.4
    ) -> np.ndarray | dict[str, Any]:
        """One picture: a path, a file's content, or an array (H, W, 3) RGB or (H, W) grey uint8.

        Args:
            model: its name; needed where the server has several.
            output: "labels"; "overlay"; "json" of shares and runs.
            opacity: of an overlay's colours, 0..1.

        Returns:
            (H, W) class numbers, uint8 or of more than 256 classes uint16; (H, W, 3) RGB; or a dictionary.

        Raises:
            UserError: no picture, no answer, or a refusal (ServerError).
        """
        content, _ = self.fetch(image, model, output, opacity, lossless=True)
        if output == "json":
            return json.loads(content)
        with Image.open(io.BytesIO(content)) as decoded:
            return np.array(decoded)

    def fetch(
        self,
        image: pictures.Picture,
        model: str | None = None,
        output: str = "labels",
        opacity: float = 0.4,
        *,
        lossless: bool = False,
    ) -> tuple[bytes, str]:
        """As `segment`, but the file as it came, and its suffix: an overlay is a JPEG, or PNG if `lossless`."""
        if output not in OUTPUTS:
            raise UserError(f"no output {output!r}; there are {', '.join(OUTPUTS)}")
        path = f"/v1/models/{quote(model or self.only_model(), safe='')}/segment"
        headers = {"Accept": "image/png" if lossless else "*/*"}
        params = {"output": output, "opacity": opacity}
        response = self._ask("POST", path, data=_content(image), params=params, headers=headers)
        return response.content, _SUFFIXES.get(response.headers.get("Content-Type", "").partition(";")[0], ".bin")

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

    def _ask(self, method: str, path: str, **content: Any) -> Any:
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


def parser() -> argparse.ArgumentParser:
    summary, _, examples = __doc__.partition("\n\n")
    made = errors.Parser(
        prog="client.py", description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("url", help="of the server, such as http://127.0.0.1:8000")
    add(
        "images", nargs="*", type=Path, metavar="IMAGE", help="pictures, folders, text files of paths; none: its models"
    )
    add("--model", help="its name (default: the only one)")
    add("--output", choices=OUTPUTS, default="labels", help="labels, overlay or json (default: %(default)s)")
    add("--opacity", type=float, default=0.4, help="of an overlay's colours, 0 to 1 (default: %(default)s)")
    add("--save-dir", type=Path, default=Path("output/segmented"), help="folder for results (default: %(default)s)")
    add("--concurrency", type=int, default=1, help="requests at the same time (default: %(default)s)")
    add("--api-key-file", type=Path, help=f"file with the server's key, if it wants one (default: {KEY}, or none)")
    add("--timeout", type=float, default=60.0, help="seconds the server may be silent (default: %(default)s)")
    add("--retries", type=int, default=10, help="further attempts while it is busy (default: %(default)s)")
    return made


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    _check(args)
    with Client(args.url, _key(args.api_key_file), args.timeout, args.retries, args.concurrency) as client:
        if not args.images:
            for entry in client.models():
                print(f"{entry['name']:<24} {len(entry['classes'])} classes")
            return 0
        sources = list(_sources(args.images))
        model = args.model or client.only_model()
        return _segment_all(client, sources, model, args)


def _segment_all(client: Client, sources: list[pictures.Source], model: str, args: argparse.Namespace) -> int:
    def segment(source: pictures.Source) -> str:
        try:
            content, suffix = client.fetch(source.path, model, args.output, args.opacity)
        except UserError as error:
            if isinstance(error, ServerError) and error.status not in _OF_ONE_PICTURE:
                raise
            return f"{source.path}: {error}"
        with pictures.replacing(args.save_dir / args.output / Path(source.name).with_suffix(suffix)) as draft:
            draft.write_bytes(content)
        return ""

    start, left_out = time.perf_counter(), []
    with ThreadPoolExecutor(args.concurrency) as pool:  # the first error ends it: `map` takes back what has not begun
        for reason in tqdm(pool.map(segment, sources), total=len(sources), disable=len(sources) == 1, unit="picture"):
            if reason:
                left_out.append(reason)
                tqdm.write(f"left out: {reason}", file=sys.stderr)
    done, seconds, folder = len(sources) - len(left_out), time.perf_counter() - start, args.save_dir / args.output
    if not done:
        raise UserError(f"none of {len(sources)} pictures could be segmented: {left_out[0]}")
    print(f"{done} of {len(sources)} in {seconds:.1f} s ({done / seconds:.1f} a second) are in {folder}")
    return 1 if left_out else 0


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(KEY)
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--api-key-file {file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None


def _sources(paths: Iterable[Path]) -> Iterator[pictures.Source]:
    """All pictures, under names that differ even without their suffix."""
    taken: set[str] = set()
    for path in paths:
        for source in pictures.find(path.expanduser()):
            stem, suffix = os.path.splitext(source.name)
            while stem in taken:
                stem += "_"
            taken.add(stem)
            yield pictures.Source(source.path, stem + suffix)


def _content(image: pictures.Picture) -> bytes:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, np.ndarray):
        encoded = io.BytesIO()
        pixels = pictures.decode(image, 1 if image.ndim == 2 else 3)
        Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
        return encoded.getvalue()
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise UserError(f"{image}: {error.strerror}") from None


def _session(retries: int, connections: int) -> Any:
    try:
        import requests
        from urllib3.util import Retry
    except ImportError:
        raise UserError(
            "the client needs requests: pip install 'paddle_hrfamily[serve]', or pip install requests"
        ) from None

    class Patience(Retry):
        """Waits as long as a busy server says, within reason."""

        def get_retry_after(self, response: Any) -> float | None:
            wait = super().get_retry_after(response)
            return None if wait is None else min(wait, _LONGEST_WAIT)

    # A picture is not sent again where a connection fails: the address is wrong, or the picture broke the server.
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


def _refusal(response: Any) -> UserError:
    try:
        error = response.json()["error"]
        return ServerError(response.status_code, error["reason"], error["message"])
    except (ValueError, KeyError, TypeError):  # a proxy, or another server
        return ServerError(response.status_code, response.reason or "unknown", f"{response.url} gave no reason")


def _models(response: Any) -> list[dict[str, Any]]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or "models" not in found:
        raise UserError(f"{response.url} does not answer as serve.py does")
    return found["models"]


def _check(args: argparse.Namespace) -> None:
    for name, least in (("concurrency", 1), ("retries", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)} must be a whole number of at least {least}")
    if not args.timeout > 0:
        raise UserError(f"--timeout {args.timeout} must be a number of seconds above 0")
    if not 0 <= args.opacity <= 1:
        raise UserError(f"--opacity {args.opacity} must be a number of 0 (picture alone) to 1 (colours alone)")


if __name__ == "__main__":
    sys.exit(errors.run(main))
