"""configs/TABLES.md, the map of the papers' tables: what it names is there, and says the same figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from paddle_hrfamily.ablation.suite import read_suite

FOLDER = Path(__file__).resolve().parent.parent / "configs"
SUITES = {file.stem: read_suite(file) for file in (FOLDER / "ablations").glob("*.yml")}
PAPERS = ("HRNet", "U-HRNet", "DDRNet", "SPGNet", "Specialize and Fuse")
CONFIG = re.compile(r"\[(\w+\.yml)\]\(\1\)")
SUITE_ROW = re.compile(r"\[(\w+)\]\(ablations/\1\.yml\), row `(\w+)`")


class Row(NamedTuple):
    """A line of the page: of which table, as what, the paper's figure, where it is here, and what else that takes."""

    table: str
    label: str
    published: float | None
    here: str
    how: str


def rows() -> Iterator[Row]:
    table = ""
    for line in (FOLDER / "TABLES.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            table = line.strip("# ")
        elif line.startswith("| ") and not line.startswith(("| row", "| ---")):
            label, published, here, how = (cell.strip() for cell in line.strip("|").split("|"))
            yield Row(table, label, None if published == "–" else float(published), here, how)


ROWS = list(rows())
NAMED = sorted({found[1] for row in ROWS if (found := CONFIG.fullmatch(row.here))})


def test_every_row_is_a_config_a_suites_row_or_not_here_for_a_reason() -> None:
    text = (FOLDER / "TABLES.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+) \(", text, re.MULTILINE) == list(PAPERS)
    assert len(ROWS) > 140
    for row in ROWS:
        absent = re.fullmatch(r"not here: \w.{15,}", row.here)
        assert CONFIG.fullmatch(row.here) or SUITE_ROW.fullmatch(row.here) or absent, row


@pytest.mark.parametrize("name", NAMED)
def test_a_config_is_there_and_has_the_figure_that_it_is_named_for(name: str) -> None:
    """A row that takes more than the config is a figure that the config's comment need not have."""
    comment = [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    said = set(map(float, re.findall(r"\d+\.\d+", " ".join(comment))))
    named_for = [row for row in ROWS if f"[{name}]" in row.here and row.published is not None]
    assert {row.published for row in named_for if not row.how} <= said
    assert not named_for or said & {row.published for row in named_for}


def test_a_suites_row_is_there_with_the_same_figure() -> None:
    for row in ROWS:
        if found := SUITE_ROW.fullmatch(row.here):
            (there,) = SUITES[found[1]].select([found[2]])
            assert there.published == row.published, row


def test_every_published_figure_of_a_suite_is_in_the_tables() -> None:
    figures = {row.published for row in ROWS}
    assert not [row for suite in SUITES.values() for row in suite.rows if row.published not in figures]
