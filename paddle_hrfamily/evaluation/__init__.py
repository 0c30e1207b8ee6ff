"""Measures of a trained network, per class, per depth, per organ."""

import paddleseg  # noqa: F401  first: the import ends in registration, which needs the modules of this folder whole
