"""Checkpoints that survive a kill at any moment, and training that goes on from them exactly."""

import paddleseg  # noqa: F401  first: the import ends in registration, which needs the modules of this folder whole
