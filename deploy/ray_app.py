"""Serve exported networks over HTTP as `serve` does, on Ray Serve: replicas of each, on one machine or on many."""

import sys

from hrfamily_deploy.scripts.command_line import main
from hrfamily_deploy.scripts.ray_app import build

__all__ = ["build"]  # for Ray's own tools: serve run ray_app:build

if __name__ == "__main__":
    sys.exit(main("ray"))
