"""The forms of answer, one file each. To add one, write its file and import it here."""
# ruff: isort: skip_file

from __future__ import annotations

from hrfamily_deploy.serving.outputs.base import OUTPUTS, Decoded, Output, Segmented, register

# In the order of the documentation.
from hrfamily_deploy.serving.outputs import labels  # noqa: F401
from hrfamily_deploy.serving.outputs import overlay  # noqa: F401
from hrfamily_deploy.serving.outputs import summary  # noqa: F401
from hrfamily_deploy.serving.outputs import confidence  # noqa: F401

__all__ = ["OUTPUTS", "Decoded", "Output", "Segmented", "register"]
