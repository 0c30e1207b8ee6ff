"""What independent implementations compute with known weights, and those weights: `parity` is the fixture to ask for.

`tests/files/parity/` holds, for each network, what its source returned (`<output>_HxW.npy`, float32, at the network's
own stride), the names and shapes of its checkpoint (`meta.json`), and its vectors (`vectors.npz`). The weights of
convolutions and linear layers follow from their names and shapes.

What is too large to travel with the project (stage outputs, whole checkpoint files) lies in `../shared/parity` where
that folder is; the tests that need it skip elsewhere, and say so.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent / "files" / "parity"
BESIDE = HERE.parents[2].parent / "shared" / "parity"


class Parity:
    """The answers and the weights of every network by the name of its folder."""

    def file(self, *path: str) -> Path:
        """A file of the fixtures. Skips the test where it is neither in the project nor beside the checkout."""
        for root in (HERE, BESIDE):
            if (file := root.joinpath(*path)).is_file():
                return file
        pytest.skip(f"{'/'.join(path)} is too large to travel with the project, and ../shared/parity is not here")

    def meta(self, name: str) -> Mapping[str, Any]:
        """Source, commit, `keys` (tensor name -> shape), `inputs` (size -> seed), and what its outputs are."""
        return json.loads(self.file(name, "meta.json").read_text())

    def answer(self, name: str, file: str) -> Any:
        """An output: an array of a `.npy`, or what is in an `.npz` by name."""
        return np.load(self.file(name, file))

    def checkpoint(self, file: str) -> Path:
        """A whole checkpoint as its framework wrote it."""
        return self.file("checkpoints", file)

    def state_dict(self, name: str) -> dict[str, np.ndarray]:
        """All tensors of the checkpoint by the names of its source, in its order, float32.

        A tensor of two or more axes is normal noise of variance 2 / fan-in, seeded by its name, rounded to float16.
        """
        vectors = np.load(self.file(name, "vectors.npz"))
        return {key: _drawn(key, shape) if len(shape) > 1 else _wide(vectors[key]) for key, shape in self.keys(name)}

    def keys(self, name: str) -> list[tuple[str, list[int]]]:
        """Name and shape of each tensor of the checkpoint."""
        return list(self.meta(name)["keys"].items())

    def input_image(self, name: str, size: str) -> np.ndarray:
        """(1, 3, H, W) float32, standard normal, of a size ("HxW") that there is an answer for."""
        height, width = map(int, size.split("x"))
        noise = np.random.RandomState(self.meta(name)["inputs"][size]["seed"])
        return noise.standard_normal((1, 3, height, width)).astype(np.float32)


def _drawn(key: str, shape: list[int]) -> np.ndarray:
    noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    return (noise * (2.0 / int(np.prod(shape[1:]))) ** 0.5).astype(np.float16).astype(np.float32)


def _wide(vector: np.ndarray) -> np.ndarray:
    return vector.astype(np.float32) if vector.dtype == np.float16 else vector
