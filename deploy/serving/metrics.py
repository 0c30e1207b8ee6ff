"""What Prometheus reads. With PROMETHEUS_MULTIPROC_DIR set, each process answers for all of them."""

from __future__ import annotations


class Metrics:
    """Counts of one application."""

    def batch(self, model: str, size: int) -> None:
        """One run of the network."""

    def request(self, model: str, status: int, seconds: float) -> None: ...
