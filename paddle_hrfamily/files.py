"""Files that appear whole or not at all, and stay even if the power goes the next moment."""

from __future__ import annotations

import json
from pathlib import Path

from hrfamily_deploy.files import Unwritable, remove_drafts, replacing

__all__ = ["Unwritable", "remove_drafts", "replacing", "write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8. Raises Unwritable, a UserError."""
    with replacing(path, durable=True) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write JSON, with a line for each entry. Raises Unwritable, a UserError."""
    write_text(path, json.dumps(content, indent=2) + "\n")
