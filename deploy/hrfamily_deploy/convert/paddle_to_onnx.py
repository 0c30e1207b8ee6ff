"""From a Paddle program to ONNX by paddle2onnx. It runs in a process of its own, which it may end by a crash.

`convert` runs `python -m hrfamily_deploy.convert.paddle_to_onnx PROGRAM PARAMS OPSET TARGET`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zlib  # noqa: F401  Paddle 2.6 has functions of zlib's names, and the first to be loaded wins
from importlib import metadata
from pathlib import Path
from typing import Any

from hrfamily_deploy import modules
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.runtime import hardware

_CONVERTERS = {"2": "1.3.1", "3": "2.1.0"}  # Paddle's line -> the paddle2onnx that was tested with it
_NEEDED = ("onnx", "onnxruntime")
_DECORATION = re.compile(r"\x1b\[[\d;]*m|\[(Paddle2ONNX|ERROR)\]")  # colours beside


def check_installed() -> None:
    """Raises UserError unless all that is needed is installed, in versions that go together."""
    paddle = hardware.probe().runtimes.get("paddle")
    if paddle is None:
        raise UserError("paddle is not installed (pip install paddlepaddle)")
    wanted = f"paddle2onnx=={_CONVERTERS.get(paddle[0], _CONVERTERS['3'])}"
    converter = _version("paddle2onnx")
    missing = [name for name in _NEEDED if not _version(name)]
    if converter is None or missing:
        names = " ".join(([wanted] if converter is None else []) + missing)
        also = ", or pip install 'paddle_hrfamily[onnx]'" if paddle.startswith("3") else ""
        raise UserError(f"conversion with Paddle {paddle} needs: pip install {names}{also}")
    if (converter[0] == "1") != (paddle[0] == "2"):
        raise UserError(f"paddle2onnx {converter} is not for Paddle {paddle}: pip install {wanted}")


def convert(program: Path, params: Path, opset: int, target: Path) -> None:
    """Write `target`.

    Raises:
        UserError: paddle2onnx cannot; with its reason.
    """
    command = modules.command("convert.paddle_to_onnx", *map(str, (program, params, opset, target)))
    done = subprocess.run(
        command,
        env=modules.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode or not target.is_file():
        raise UserError(f"{program}: paddle2onnx {_version('paddle2onnx')} cannot convert it: {_reason(done.stdout)}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _reason(said: str) -> str:
    """The first line marked as an error, which names the cause; else the last one, where Python's errors stand."""
    lines = [line for line in said.splitlines() if line.strip()] or ["it said nothing"]
    found = next((line for line in lines if "[ERROR]" in line), lines[-1])
    return " ".join(_DECORATION.sub(" ", found).split())[:300]


def _main(program: Path, params: Path, opset: int, target: Path) -> None:
    import paddle2onnx
    from paddle2onnx.convert import c_p2o  # noqa: F401  fails here, with its own words, where paddle does not fit

    with tempfile.TemporaryDirectory() as folder:
        if paddle2onnx.__version__[0] != "1":
            program, params = _for_paddle2onnx_2(program, params, Path(folder))
        data = paddle2onnx.export(str(program), str(params), None, opset_version=opset)
    if not data:
        raise SystemExit(1)
    target.write_bytes(data)


def _for_paddle2onnx_2(program: Path, params: Path, folder: Path) -> tuple[Path, Path]:
    """Program and parameters as it takes them: .json alone, in which the scales of resizing are single precision.

    Paddle 3.3 writes these as doubles, at which paddle2onnx 2.1 stops.
    """

    def in_single_precision(node: dict[str, Any]) -> dict[str, Any]:
        if node.get("N") == "scale" and node["AT"]["#"] == "0.a_array":
            for value in node["AT"]["D"]:
                value["#"] = value["#"].replace("f64", "f32")
        return node

    if program.suffix == ".pdmodel":
        program, params = _translated(program, params, folder / "translated")
    content = json.loads(program.read_text(encoding="utf-8"), object_hook=in_single_precision)
    ready = folder / "model.json"
    ready.write_text(json.dumps(content), encoding="utf-8")
    return ready, params


def _translated(program: Path, params: Path, prefix: Path) -> tuple[Path, Path]:
    """Paddle 2's form of a program in Paddle 3's."""
    import paddle
    from paddle2onnx.convert import load_parameter, save_program

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.pir_utils.OldIrGuard():
        files = {"model_filename": program.name, "params_filename": params.name}
        loaded = paddle.static.load_inference_model(str(program.parent), executor, **files)
    translated = paddle.pir.translate_to_pir(loaded[0].desc)
    load_parameter(translated)
    save_program(translated, str(prefix))
    return prefix.with_suffix(".json"), prefix.with_suffix(".pdiparams")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
