"""A config as one text: its bases merged in line by line, so that comments stay with the keys that they are about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from paddle_hrfamily.integration import config_file, config_sources

_KEY = re.compile(r"""( *)("[^"]*"|'[^']*'|[^\s#'"\-][^\s:#]*):(?=\s|$)""")


@dataclass
class _Entry:
    """A key of a mapping: the comments above it, and its lines, the key's own first."""

    above: list[str]
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> list[str]:
        return self.above + self.lines

    @property
    def children(self) -> int | None:
        """By how many spaces the keys below are indented, if this is a mapping of a line a key."""
        opens = re.fullmatch(r" *\S+: *(#.*)?", self.lines[0])
        first = next((line for line in self.lines[1:] if not _is_aside(line)), None)
        key = _KEY.match(first) if opens and first else None
        return len(key[1]) if key else None


def merged(file: Path) -> str:
    """The file with its bases, whose keys come first. What cannot be merged as text loses its comments.

    Raises:
        UserError: it, or one of its bases, is missing or is no config.
    """
    headings, lines = _merged(file, ())
    content = config_file.plain(config_sources.read(file))
    body = _spaced(lines)
    try:
        same = yaml.safe_load(body) == content
    except yaml.YAMLError:
        same = False
    if not same:
        plain = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
        body = _spaced(plain.splitlines())
    return "".join("\n".join(heading) + "\n\n" for heading in headings if heading) + body


def _spaced(lines: list[str]) -> str:
    """With an empty line between keys, but not between two of a line each."""
    body = "\n\n".join("\n".join(entry.text) for entry in _entries(lines, 0).values()) + "\n"
    return re.sub(r"(?m)^([^\s#].*: *[^\s#].*)\n\n(?=[^\s#].*: *[^\s#].*$)", r"\1\n", body)


def _merged(file: Path, above: tuple[Path, ...]) -> tuple[list[list[str]], list[str]]:
    """The comments that files begin with, this one's first; the lines below, without `_base_`."""
    entries = _entries(file.read_text(encoding="utf-8").splitlines(), 0)
    first = next(iter(entries.values()))
    heading, first.above = [line for line in first.above if line.strip()], []
    if above and heading:
        heading = [f"# From {file.parent.name}/{file.name}:", *heading]
    entries.pop(config_sources.BASE, None)
    headings, lines = [heading], [line for entry in entries.values() for line in entry.text]
    for base in config_sources.bases(file, config_sources.parsed(file), above):
        theirs, below = _merged(base, (*above, file))
        headings, lines = headings + theirs, _over(lines, below, 0)
    return headings, lines


def _over(own: list[str], base: list[str], indent: int) -> list[str]:
    """The lines of a mapping over those of another."""
    ours, theirs = _entries(own, indent), _entries(base, indent)
    lines = []
    for key in {**theirs, **ours}:
        entry, other = ours.get(key), theirs.get(key)
        if entry is None or other is None:
            lines += (entry or other or _Entry([])).text
            continue
        lines += entry.above or other.above
        below = entry.children
        if below is not None and below == other.children:
            lines += [entry.lines[0], *_over(entry.lines[1:], other.lines[1:], below)]
        else:
            lines += entry.lines
    return lines


def _entries(lines: list[str], indent: int) -> dict[str, _Entry]:
    """The keys that are indented by so many spaces, in order."""
    entries: dict[str, _Entry] = {}
    aside: list[str] = []  # comments, which are the next key's, or of the lines of this one
    for line in lines:
        key = _KEY.match(line)
        if _is_aside(line):
            aside += [line] if line.strip() else []
        elif key and len(key[1]) == indent:
            entries[key[2]] = _Entry(aside, [line])
            aside = []
        elif entries:
            entries[next(reversed(entries))].lines += [*aside, line]
            aside = []
    if entries:
        entries[next(reversed(entries))].lines += aside
    return entries


def _is_aside(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
