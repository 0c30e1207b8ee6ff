"""From what a user writes - a path, a URL, `hf-hub:REPO` - to a weights file on this machine, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import unquote, urlsplit

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import replacing
from paddle_hrfamily.weights.download import TIMEOUT_S, download

HUB_PREFIX = "hf-hub:"
_HUB_FILE = "model.safetensors"
_WEIGHTS = (".pdparams", ".pth", ".pt", ".safetensors")
PARAMETERS = ("model.pdparams", "ema_model.pdparams")  # of a checkpoint's folder, the first one there
_BEST = ("", "best_model", "ema_best_model")  # of a training's folder
# Paddle's store answers under two names, and some files under the second alone.
_MOVED = ("https://bj.bcebos.com/paddleseg/", "https://paddleseg.bj.bcebos.com/")
_MAX_SWELLING = 50  # an archive whose weights are larger than it by more than this is no archive of weights


def fetch(source: str | os.PathLike[str], *, sha256: str = "") -> Path:
    """The file that `source` names: itself, or a copy in the cache.

    Args:
        source: a path; a URL; `hf-hub:OWNER/REPO[/FILE]`, where FILE is model.safetensors if left out. A path or URL
            may end in .tar.gz or .tgz, with one weights file inside; a path may be a folder, see `parameters_in`.
        sha256: hexadecimal digits that the SHA-256 of what is downloaded from a URL has to begin with.

    The cache is the folder `weights` in $PADDLE_HRFAMILY_HOME or ~/.cache/paddle_hrfamily; the hub has its own.

    Raises:
        UserError: no such file, no connection, nothing there, another SHA-256, an archive with no or several weights
            files.
    """
    text = os.fspath(source)
    if text.startswith(HUB_PREFIX):
        return _from_hub(text)
    if re.match(r"https?://", text):
        return _from_url(text, sha256)
    path = Path(text).expanduser()
    if path.is_dir():
        return parameters_in(path)
    if not path.is_file():
        raise UserError(f"no weights file {text}; give a path, a URL, {HUB_PREFIX}OWNER/REPO or a published name")
    return _from_local_archive(path) if _is_archive(path) else path


def parameters_in(folder: Path) -> Path:
    """The network's parameters in a checkpoint's folder, or in a training's: those of its best model.

    Raises:
        UserError: there are none.
    """
    for place in _BEST:
        for name in PARAMETERS:
            if (folder / place / name).is_file():
                return folder / place / name
    if any(folder.glob("*.pdiparams")):
        raise UserError(f"{folder} is an exported network, which `hrfamily infer` and `serve` run; name its checkpoint")
    raise UserError(f"{folder} is a folder without {PARAMETERS[0]}; name the file with the weights")


def cached(source: str) -> Path | None:
    """The copy in the cache of a URL's or `hf-hub:` file, if there is one."""
    if not source.startswith(HUB_PREFIX):
        return _cached(_target(source))
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    repository, file = _hub_file(source)
    copy = try_to_load_from_cache(repository, file)
    return Path(copy) if isinstance(copy, str) else None


def cache_home() -> Path:
    """Where this package keeps what it can get again: `$PADDLE_HRFAMILY_HOME`, else `~/.cache/paddle_hrfamily`."""
    return Path(os.environ.get("PADDLE_HRFAMILY_HOME") or "~/.cache/paddle_hrfamily").expanduser()


def cache_folder() -> Path:
    """Where downloads are kept."""
    return cache_home() / "weights"


def _target(url: str) -> Path:
    """Where the download of `url` is kept."""
    return cache_folder() / f"{_key(url)}-{_file_name(url)}"


def _from_url(url: str, sha256: str) -> Path:
    from filelock import FileLock

    target = _target(url)
    if copy := _cached(target):
        return copy
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):  # one process at a time, the others wait for its file
            return _cached(target) or _download_and_unpack(url, target, sha256)
    except OSError as error:
        raise UserError(f"cannot write to {target.parent}: {error.strerror}; set PADDLE_HRFAMILY_HOME") from error


def _cached(target: Path) -> Path | None:
    return target if target.is_file() else _unpacked(target)


def _download_and_unpack(url: str, target: Path, sha256: str) -> Path:
    arrived = target.with_name(target.name + ".arrived")  # no name that another process would take for the weights
    download(_mirrors(url), arrived)
    if not (found := digest(arrived)).startswith(sha256):
        arrived.unlink()
        raise UserError(
            f"{url}: what arrived has the SHA-256 {found[:16]}…, and the publisher's begins with {sha256}: fetch it "
            "again; a file that you trust is given by its path"
        )
    if not _is_archive(arrived):
        os.replace(arrived, target)
        return target
    unpacked = _unpack(arrived, target)
    arrived.unlink()
    return unpacked


def _mirrors(url: str) -> list[str]:
    here, there = _MOVED
    return [url, there + url[len(here) :]] if url.startswith(here) else [url]


def _from_local_archive(path: Path) -> Path:
    stat = path.stat()
    key = _key(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
    copy = cache_folder() / f"{key}-{path.name}"
    return _unpacked(copy) or _unpack(path, copy)


def _is_archive(path: Path) -> bool:
    """By content: PyTorch users call plain checkpoints `.pth.tar`."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked(archive: Path) -> Path | None:
    """The weights file that came out of `archive`, which lies in a folder named after it."""
    return next((path for path in _folder_for(archive).glob("*") if path.suffix in _WEIGHTS), None)


def _unpack(archive: Path, named: Path) -> Path:
    """Copy the one weights file of `archive` into the folder of `named`; no path or link in the archive is followed."""
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if _is_weights(member)]
            if len(members) != 1:
                found = ", ".join(member.name for member in members) or "none"
                raise UserError(f"{archive} should hold one weights file ({', '.join(_WEIGHTS)}); found {found}")
            (member,) = members
            if member.size > _MAX_SWELLING * archive.stat().st_size:
                raise UserError(f"refused to unpack {archive}: {member.name} would swell to {member.size} bytes")
            target = _folder_for(named) / PurePosixPath(member.name).name
            with replacing(target, durable=True) as draft, draft.open("wb") as file:
                shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(member)), file)  # None for folders alone
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"cannot unpack {archive}: {str(error).splitlines()[0]}; delete it and fetch it again"
        ) from error
    return target


def _folder_for(archive: Path) -> Path:
    return archive.with_name(archive.name + ".unpacked")


def _is_weights(member: tarfile.TarInfo) -> bool:
    name = PurePosixPath(member.name).name
    return member.isreg() and name.endswith(_WEIGHTS) and not name.startswith(".")  # macOS adds ._NAME beside NAME


def _from_hub(source: str) -> Path:
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    except ImportError as error:
        raise UserError(f"{source} needs huggingface_hub: pip install 'paddle_hrfamily[hub]'") from error
    repository, file = _hub_file(source)
    copy = try_to_load_from_cache(repository, file)
    if isinstance(copy, str):
        return Path(copy)
    try:
        # Without this question the download, on a machine with no connection, tries for half a minute and logs it.
        get_hf_file_metadata(hf_hub_url(repository, file), timeout=TIMEOUT_S)
        return Path(hf_hub_download(repository, file))
    except Exception as error:  # its own errors, those of two HTTP libraries, and of the file system
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot get {file} of {repository} from the Hugging Face hub: {reason.rstrip('.')}. Download it by hand "
            f"from https://huggingface.co/{repository} and give the file's path instead"
        ) from error


def _hub_file(source: str) -> tuple[str, str]:
    """Repository and file of `hf-hub:OWNER/REPO[/FILE]`."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", source[len(HUB_PREFIX) :])
    if match is None:
        raise UserError(
            f"{source} names no repository of the hub: write {HUB_PREFIX}OWNER/REPO or {HUB_PREFIX}OWNER/REPO/FILE"
        )
    return match[1], match[2] or _HUB_FILE


def digest(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return re.sub(r"[^\w.-]", "_", name) or "weights"
