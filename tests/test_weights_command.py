"""`hrfamily weights`: what it lists, what it fetches, what README says by it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.registry import BACKBONES, Published
from paddle_hrfamily.weights import published, readme
from paddle_hrfamily.weights.published import CatalogueEntry, catalogue
from paddle_hrfamily.weights.publishers.elsewhere import ELSEWHERE
from paddle_hrfamily.zoo import list_models
from tests.fakes import ROOT
from tests.test_weights_fetching import BODY, NOBODY, Server, cache, server  # noqa: F401  fixtures

DIGEST = hashlib.sha256(BODY).hexdigest()


def test_the_table_has_all_that_is_known(capsys: pytest.CaptureFixture[str], cache: Path) -> None:  # noqa: F811
    assert main(["weights", "hrnet_w48_ocr lip"]) == 0
    heading, row, last = capsys.readouterr().out.splitlines()
    for word in ("network", "names", "trained on", "published score", "by", "licence", "padding", "align_corners"):
        assert word in heading
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    assert cells[:4] == ["hrnet_w48_ocr", "lip", "LIP", "56.48 mIoU on val, flip"]
    assert cells[4:] == ["HRNet's authors", "MIT", "symmetric", "true", "no"]
    assert last.startswith("1 files, 0 of them in the cache")


def test_patterns_find_networks_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    def found(pattern: str) -> set[tuple[str, str]]:
        assert main(["weights", pattern, "--json"]) == 0
        return {(row["network"], row["names"][0]) for row in json.loads(capsys.readouterr().out)}

    assert found("hrnet_w48_ocr cityscapes_t*") == {("hrnet_w48_ocr", "cityscapes_trainval")}
    assert found("trainval") == {("hrnet_w48_ocr", "cityscapes_trainval")}
    assert found("ddrnet_23_slim") == {("ddrnet_23_slim", "imagenet"), ("ddrnet_23_slim", "cityscapes")}
    assert {name for _, name in found("lip")} == {"lip"}
    assert main(["weights", "hrnet_w48_ocr lipp"]) == 2
    assert "did you mean hrnet_w48_ocr lip" in capsys.readouterr().err


def test_every_name_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = [(row["network"], row["whole"], name) for row in rows for name in row["names"]]
    assert len(set(names)) == len(names) and len(rows) == len(catalogue())
    for backbone in BACKBONES.values():
        for variant, table in backbone.weights.items():
            network = f"{backbone.zoo or 'resnet'}_{variant.lower()}"
            assert {(network, False, name) for name in table} <= set(names)


def one(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str) -> None:
    weights = Published(url, "symmetric", sha256=sha256)
    entry = CatalogueEntry("mynet", ("cityscapes",), weights, True)
    monkeypatch.setattr(published, "catalogue", lambda: [entry])


def test_fetching_puts_the_file_into_the_cache(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: Server,  # noqa: F811
    cache: Path,  # noqa: F811
) -> None:
    server.behaviour.cut_after = [100_000]  # and resumed from there
    one(monkeypatch, server.url, DIGEST[:8])
    assert main(["weights", "mynet"]) == 0
    assert " no\n" in capsys.readouterr().out
    assert main(["weights", "mynet", "--fetch", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert Path(row["cached"]).read_bytes() == BODY and Path(row["cached"]).parent == cache
    assert server.behaviour.asked[1] == "bytes=100000-"
    assert main(["weights", "mynet"]) == 0
    assert " yes\n" in capsys.readouterr().out


def test_another_checksum_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: Server,  # noqa: F811
    cache: Path,  # noqa: F811
) -> None:
    one(monkeypatch, server.url, "0" * 8)
    assert main(["weights", "mynet", "--fetch"]) == 1
    said = capsys.readouterr()
    assert f"SHA-256 {DIGEST[:16]}…, and the publisher's begins with 00000000" in said.err and " no\n" in said.out
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == []


def test_what_cannot_be_had_is_said_and_the_rest_fetched(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: Server,  # noqa: F811
) -> None:
    entries = [
        CatalogueEntry("mynet", (name,), Published(url, None), True)
        for name, url in (("one", f"{NOBODY}/a.pth"), ("two", server.url))
    ]
    monkeypatch.setattr(published, "catalogue", lambda: entries)
    assert main(["weights", "--fetch"]) == 1
    said = capsys.readouterr()
    assert "mynet one: cannot download" in said.err and "2 files, 1 of them in the cache" in said.out


def test_readme_says_what_the_registry_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Renewed by `hrfamily weights --markdown`, whose output goes between the two marks."""
    assert main(["weights", "--markdown"]) == 0
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition(readme.BEGIN)[2].partition(readme.END)[0].strip()
    assert block == capsys.readouterr().out.strip(), "run `hrfamily weights --markdown` and paste it into README.md"


def test_what_is_missing_is_missing() -> None:
    told = " ".join(row[0] for row in ELSEWHERE)
    assert all(f"`{name}`" in told for name in readme.without_imagenet())
    networks = {name for row in ELSEWHERE for name in row[0].split("`")[1::2] if "*" not in name}
    assert networks <= {name.removesuffix("_cls") for name in list_models()}
