"""Downloads from a real server that misbehaves, archives, the hub's cache on disk."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights import download, fetch, fetching, read, save
from tests import torch_samples

NOBODY = "http://127.0.0.1:1"  # where nobody listens
BODY = np.random.RandomState(0).bytes(300_000)


@dataclass
class Behaviour:
    """What the server does next."""

    body: bytes = BODY
    etag: str | None = '"one"'
    cut_after: list[int] = field(default_factory=list)  # bytes sent before the connection drops, answer by answer
    claim: int | None = None  # Content-Length, if it is to be false
    status: int = 200
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)  # Range of every request


class Handler(http.server.BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        how = self.behaviour
        asked = self.headers.get("Range")
        how.asked.append(asked)
        if how.status != 200:
            self.send_error(how.status)
            return
        start = 0
        if asked and how.ranges and self.headers.get("If-Range") == how.etag:
            start = int(asked[len("bytes=") : -1])
            if start >= len(how.body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(how.body) - 1}/{len(how.body)}")
        else:
            self.send_response(200)
        if how.etag:
            self.send_header("ETag", how.etag)
        rest = how.body[start:]
        self.send_header("Content-Length", str(how.claim or len(rest)))
        self.end_headers()
        self.wfile.write(rest[: how.cut_after.pop(0)] if how.cut_after else rest)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@dataclass
class Server:
    behaviour: Behaviour
    url: str


@pytest.fixture
def server() -> Iterator[Server]:
    behaviour = Behaviour()
    handler = type("Configured", (Handler,), {"behaviour": behaviour})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield Server(behaviour, f"http://127.0.0.1:{httpd.server_port}/folder/model.pdparams")
        httpd.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PADDLE_HRFAMILY_HOME", str(tmp_path / "home"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "home" / "weights"


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if ".part" in path.name or path.suffix == ".tmp"]


def test_a_url_is_fetched_once(server: Server, cache: Path) -> None:
    path = fetch(server.url)
    assert path.read_bytes() == BODY
    assert path.parent == cache
    assert path.name.endswith("-model.pdparams")
    assert fetch(server.url) == path
    assert len(server.behaviour.asked) == 1
    assert leftovers(cache) == []


def test_urls_of_one_name_do_not_collide(server: Server) -> None:
    first = fetch(server.url)
    server.behaviour.body = b"other"
    second = fetch(server.url.replace("folder", "elsewhere"))
    assert (first.read_bytes(), second.read_bytes()) == (BODY, b"other")


def test_cut_connections_are_resumed_where_they_stopped(server: Server, cache: Path) -> None:
    server.behaviour.cut_after = [100_000, 50_000, 1]
    assert fetch(server.url).read_bytes() == BODY
    assert server.behaviour.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]
    assert leftovers(cache) == []


def test_a_later_run_continues_an_earlier_one(server: Server, cache: Path) -> None:
    server.behaviour.cut_after = [70_000, 0, 0, 0]
    with pytest.raises(UserError, match=r"cannot download .*cut"):
        fetch(server.url)
    assert [path.stat().st_size for path in cache.glob("*.part")] == [70_000]
    server.behaviour.cut_after.clear()
    server.behaviour.asked.clear()
    assert fetch(server.url).read_bytes() == BODY
    assert server.behaviour.asked == ["bytes=70000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server) -> None:
    server.behaviour.cut_after = [70_000, 0, 0]
    with pytest.raises(UserError):
        fetch(server.url)
    server.behaviour.cut_after.clear()
    server.behaviour.body, server.behaviour.etag = BODY[::-1], '"two"'
    assert fetch(server.url).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_what_cannot_be_told_unchanged_is_not_continued(server: Server, etag: str | None) -> None:
    server.behaviour.etag = etag
    server.behaviour.cut_after = [70_000]
    assert fetch(server.url).read_bytes() == BODY
    assert server.behaviour.asked == [None, None]


def test_a_server_without_ranges_starts_over(server: Server) -> None:
    server.behaviour.ranges = False
    server.behaviour.cut_after = [70_000]
    assert fetch(server.url).read_bytes() == BODY


def test_a_part_longer_than_the_file_is_dropped(server: Server, cache: Path) -> None:
    server.behaviour.cut_after = [200_000, 0, 0]
    with pytest.raises(UserError):
        fetch(server.url)
    server.behaviour.cut_after.clear()
    server.behaviour.body = BODY[:1000]  # the same ETag, against the rules
    assert fetch(server.url).read_bytes() == BODY[:1000]


def test_a_wrong_length_is_not_taken_for_the_file(server: Server, cache: Path) -> None:
    server.behaviour.claim = len(BODY) + 10
    server.behaviour.ranges = False
    with pytest.raises(UserError, match="cut"):
        fetch(server.url)
    assert not list(cache.glob("*model.pdparams"))


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_error_status_is_one_line_with_url_and_way_out(server: Server, status: int) -> None:
    server.behaviour.status = status
    with pytest.raises(UserError) as error:
        fetch(server.url)
    message = str(error.value)
    assert "\n" not in message
    assert server.url in message
    assert f"answers {status}" in message
    assert "by hand" in message
    assert len(server.behaviour.asked) == 1


def test_nobody_listening(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/model.pdparams"
    with pytest.raises(UserError, match="Connection refused") as error:
        fetch(url)
    assert url in str(error.value)


def test_a_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/model.pdparams"
        with pytest.raises(UserError, match=r"no answer within 0\.2 s"):
            fetch(url)


def test_an_unwritable_cache_names_the_variable(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PADDLE_HRFAMILY_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set PADDLE_HRFAMILY_HOME"):
        fetch(server.url)


def test_two_at_once_download_once(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(fetch, [server.url] * 4))
    assert len(paths) == 1
    assert paths.pop().read_bytes() == BODY
    assert len(server.behaviour.asked) == 1


def test_paddles_store_has_a_second_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    host = server.url.partition("/folder")[0]
    monkeypatch.setattr(fetching, "_MOVED", ("http://127.0.0.1:1/paddleseg/", f"{host}/"))
    assert fetch("http://127.0.0.1:1/paddleseg/dygraph/x/model.pdparams").read_bytes() == BODY


# --- archives ---


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_an_archive_from_a_url(server: Server, tmp_path: Path, cache: Path) -> None:
    members = {"net/model.pdparams": BODY, "net/._model.pdparams": b"what macOS adds", "net/readme.txt": b"hello"}
    server.behaviour.body = archive(tmp_path / "net.tar.gz", members).read_bytes()
    path = fetch(server.url.replace("model.pdparams", "net.tar.gz"))
    assert path.name == "model.pdparams"
    assert path.read_bytes() == BODY
    assert fetch(server.url.replace("model.pdparams", "net.tar.gz")) == path
    assert len(server.behaviour.asked) == 1
    assert sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) == len(BODY)  # no archive is kept


def test_a_local_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.tgz", {"model.pdparams": BODY})
    assert fetch(path).read_bytes() == BODY
    os.utime(path, (1, 1))
    archive(path, {"model.pdparams": BODY[::-1]})
    assert fetch(path).read_bytes() == BODY[::-1]  # another file under the same name


def test_paths_in_an_archive_lead_nowhere(tmp_path: Path, cache: Path) -> None:
    path = archive(tmp_path / "evil.tar.gz", {"../../../../escaped.pdparams": BODY})
    assert fetch(path).parent.parent == cache
    assert [p for p in tmp_path.rglob("escaped.pdparams") if cache not in p.parents] == []


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("model.pdparams")
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    with pytest.raises(UserError, match=r"should hold one weights file .* found none"):
        fetch(tmp_path / "evil.tar.gz")


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"readme.txt": b"hello"}, "found none"),
        ({"a.pdparams": BODY, "b.pth": BODY}, "found a.pdparams, b.pth"),
        ({"a.pdparams": bytes(50_000_000)}, "would swell to 50000000 bytes"),
    ],
)
def test_archives_without_one_weights_file(tmp_path: Path, members: dict[str, bytes], says: str) -> None:
    with pytest.raises(UserError, match=says):
        fetch(archive(tmp_path / "x.tar.gz", members))


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"no tar inside"), gzip.compress(BODY)[:5000], b"\x1f\x8bgarbage"],
    ids=["no tar", "cut off", "garbage"],
)
def test_damaged_archives(tmp_path: Path, cache: Path, content: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match="cannot unpack") as error:
        fetch(tmp_path / "x.tar.gz")
    assert "\n" not in str(error.value)


def test_a_checkpoint_called_tar_is_no_archive() -> None:
    """PyTorch users write `.pth.tar` for plain checkpoints."""
    path = torch_samples.FILES / "torch_zip.pth"
    assert fetch(path) == path


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"no weights file nowhere\.pth; give a path, a URL"):
        fetch("nowhere.pth")


# --- the hub ---


def hub_cache(folder: Path, repository: str, file: str, data: bytes) -> None:
    """A model as huggingface_hub keeps it on disk."""
    model = folder / "hub" / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    snapshot = model / "snapshots" / commit / file
    for made in (model / "blobs", model / "refs", snapshot.parent):
        made.mkdir(parents=True)
    blob = model / "blobs" / hashlib.sha256(data).hexdigest()
    blob.write_bytes(data)
    (model / "refs" / "main").write_text(commit)
    snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))


def fetch_from_hub(source: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads its environment once."""
    code = (
        "import sys\nfrom paddle_hrfamily.errors import UserError\nfrom paddle_hrfamily.weights import fetch\n"
        "try:\n    print(fetch(sys.argv[1]))\nexcept UserError as e:\n    sys.exit(str(e))\n"
    )
    environment = {**os.environ, "HF_HOME": str(home), **environment}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-c", code, source]
    root = Path(__file__).parent.parent
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", [None, "other/weights.pth"])
def test_the_hub_cache_answers_offline(tmp_path: Path, file: str | None) -> None:
    pytest.importorskip("huggingface_hub")
    state = {"w": np.arange(3, dtype="f4")}
    save(state, tmp_path / "w.safetensors")
    hub_cache(
        tmp_path / "hf", "timm/some.model_in1k", file or "model.safetensors", (tmp_path / "w.safetensors").read_bytes()
    )
    suffix = f"/{file}" if file else ""
    result = fetch_from_hub(f"hf-hub:timm/some.model_in1k{suffix}", tmp_path / "hf", HF_ENDPOINT=NOBODY)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read(result.stdout.strip())["w"], state["w"])


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's answer for one file."""

    def do_HEAD(self) -> None:
        if self.path != "/timm/some.model_in1k/resolve/main/model.safetensors":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("ETag", '"' + hashlib.sha256(BODY).hexdigest() + '"')
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()

    def do_GET(self) -> None:
        self.path = self.path.replace("1" * 40, "main")
        self.do_HEAD()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_a_download_from_a_hub(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{httpd.server_port}"
        result = fetch_from_hub("hf-hub:timm/some.model_in1k", tmp_path, HF_ENDPOINT=endpoint)
        absent = fetch_from_hub("hf-hub:timm/some.model_in1k/none.pth", tmp_path, HF_ENDPOINT=endpoint)
        httpd.shutdown()
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes() == BODY
    assert absent.returncode == 1
    assert "cannot get none.pth of timm/some.model_in1k" in absent.stderr
    again = fetch_from_hub("hf-hub:timm/some.model_in1k", tmp_path, HF_ENDPOINT=NOBODY)
    assert again.stdout == result.stdout


@pytest.mark.parametrize("environment", [{"HF_ENDPOINT": NOBODY}, {"HF_HUB_OFFLINE": "1"}])
def test_no_hub_and_an_empty_cache(tmp_path: Path, environment: dict[str, str]) -> None:
    """At once, and with nothing but the one line."""
    pytest.importorskip("huggingface_hub")
    start = time.monotonic()
    result = fetch_from_hub("hf-hub:timm/hrnet_w18.ms_aug_in1k", tmp_path, **environment)
    assert time.monotonic() - start < 15
    assert result.returncode == 1
    assert "cannot get model.safetensors of timm/hrnet_w18.ms_aug_in1k" in result.stderr
    assert "by hand from https://huggingface.co/timm/hrnet_w18.ms_aug_in1k" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_missing_hub_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'paddle_hrfamily\[hub\]'"):
        fetch("hf-hub:timm/hrnet_w18.ms_aug_in1k")


@pytest.mark.parametrize("source", ["hf-hub:timm", "hf-hub:", "hf-hub:a b/c"])
def test_a_hub_name_needs_owner_and_repository(source: str) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(UserError, match="names no repository"):
        fetch(source)
