"""A user who sends one image after the other; see load.py."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from locust import FastHttpUser, task

PICTURES = [file.read_bytes() for file in sorted(Path(os.environ["PICTURES"]).glob("*.jpg"))[:64]]
_turns = itertools.count()


class Sender(FastHttpUser):
    @task
    def segment(self) -> None:
        picture = PICTURES[next(_turns) % len(PICTURES)]
        self.client.post("/v1/models/street/segment", data=picture, headers={"Content-Type": "image/jpeg"})
