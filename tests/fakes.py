"""Stand-ins for paddle and paddleseg: just what the import hook touches, so that its tests need neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FILES = {
    "paddle/__init__.py": "import sys\nfound_zlib = 'zlib' in sys.modules\n",
    "paddle/base/__init__.py": "",
    "paddle/base/core.py": "threads = None\ndef set_num_threads(count):\n    global threads\n    threads = count\n",
    "paddleseg/__init__.py": "import paddle\n__version__ = '2.8.0'\n",
}


def write_fakes(folder: Path) -> Path:
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without what decides about the hook and the threads, then the changes."""
    decisive = ("OMP_", "MKL_", "PADDLE_", "PYTHON")
    return {key: value for key, value in os.environ.items() if not key.startswith(decisive)} | changes


def run(*arguments: object, python: Path | str = sys.executable, cwd: Path | None = None, **environment: str) -> str:
    """What the interpreter printed, both streams together. Fails the test if it does not exit with 0."""
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=clean_environment(**environment), text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout
