"""Progress: a bar on a terminal, few lines in a log."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

import pytest

from hrfamily_deploy import progress as module
from hrfamily_deploy.progress import progress, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[[], str]:
    """What was written to the error output, where lines may follow each other at once."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)
    return lambda: capsys.readouterr().err


def test_a_log_gets_one_plain_line_for_each_tenth(log: Callable[[], str]) -> None:
    assert list(progress(range(1000), "segmenting")) == list(range(1000))
    text = log()
    lines = text.splitlines()
    assert 9 <= len(lines) <= 10
    assert all(re.fullmatch(r"segmenting: +\d+%\| \d+/1000 \[.*image/s\]", line) for line in lines), lines
    assert lines[-1].startswith("segmenting: 100%| 1000/1000")
    assert "\r" not in text and "\x1b" not in text


def test_a_log_gets_nothing_within_the_pause(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert module.SECONDS_BETWEEN_LINES == 30
    with progress(total=5000, description="benchmark", unit="run") as bar:
        for _ in range(5000):
            bar.update()
            bar.set_postfix_str("512x1024", refresh=False)
    assert capsys.readouterr() == ("", "")


def test_lines_of_an_unknown_total_wait_for_the_pause_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = [1000.0]
    bar = progress(iter(range(90)), "frames", unit="frame")
    bar._time = lambda: now[0]
    bar.start_t = bar.last_print_t = now[0]
    for _ in bar:
        now[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4 and all(line.startswith("frames:") for line in lines), lines


def test_what_is_said_meanwhile_draws_no_bar_again(log: Callable[[], str]) -> None:
    for number in progress(range(40), "segmenting"):
        say(f"left out: {number}")
    text = log()
    assert text.count("left out") == 40
    assert 9 <= text.count("segmenting") <= 10


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert len(list(progress(range(3), "tiles", unit="tile"))) == 3
    assert "\rtiles: 100%" in terminal.getvalue()


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_disabled_nothing_is_written(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(sys, "stderr", stream())
    assert sum(progress(range(30), disable=True)) == 435
    assert sys.stderr.getvalue() == ""
