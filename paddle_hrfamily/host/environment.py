"""What must be in the environment before paddle is imported."""

from __future__ import annotations


def prepare() -> None:
    """Placeholder until written."""
    import zlib  # noqa: F401
