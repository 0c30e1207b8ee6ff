"""What the two PyTorch checkpoints in tests/files hold, and the script that made them (PyTorch 2.13.0).

python tests/torch_samples.py    # in an environment with torch; rewrites tests/files/torch_{zip,legacy}.pth
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "files"


def expected() -> dict[str, np.ndarray]:
    """The tensors of both files as `read` should return them."""
    base = np.arange(24, dtype="f4").reshape(2, 3, 4)
    return {
        "float": base,
        "transposed": base.transpose(2, 0, 1),
        "inner": base[1, 1:, 2],  # the same storage from an offset, with a stride
        "expanded": np.broadcast_to(np.float32(7.5), (3, 2)),
        "half": np.array([0.5, -2.0], "f2"),
        "double": np.array([[1e-300]], "f8"),
        "bfloat16": np.array([1.0, -0.0078125, 3.0e38], "f4").view("u4").__and__(0xFFFF0000).view("f4"),
        "long": np.array(2**40, "i8"),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 3), "f4"),
        "parameter": np.array([1.0, 2.0], "f4"),
    }


def write() -> None:
    import torch

    base = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "float": base,
        "transposed": base.permute(2, 0, 1),
        "inner": base[1, 1:, 2],
        "expanded": torch.tensor(7.5).expand(3, 2),
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "double": torch.tensor([[1e-300]], dtype=torch.float64),
        "bfloat16": torch.from_numpy(expected()["bfloat16"]).to(torch.bfloat16),
        "long": torch.tensor(2**40),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.tensor([1.0, 2.0])),
    }
    checkpoint = {"epoch": 3, "best": np.float64(0.75), "state_dict": state, "size": torch.Size([1, 2])}
    torch.save(checkpoint, FILES / "torch_zip.pth")
    torch.save(checkpoint, FILES / "torch_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    write()
