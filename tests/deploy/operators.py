"""Where an exported network's time goes in OpenVINO, by kind of operator, in milliseconds of one run.

    python tests/deploy/operators.py OUT/hrnet_w18/paddleseg OUT/hrnet_w18/ours --precision bf16

Each operator's least time over the runs is counted. Measuring makes a run some per cent slower.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy")]

_WARM_UP = 3


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folders", nargs="+", type=Path, help="exported networks of fixed shape")
    made.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="(default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    made.add_argument("--runs", type=int, default=8, help="counted ones (default: %(default)s)")
    return made


def main() -> int:
    args = parser().parse_args()
    columns = [milliseconds(folder, args.precision, args.threads, args.runs) for folder in args.folders]
    kinds = sorted({kind for column in columns for kind in column}, key=lambda kind: -columns[0][kind])
    print("| operator | " + " | ".join(map(str, args.folders)) + " |")
    print("|---|" + "---|" * len(columns))
    for kind in [*kinds, "sum"]:
        cells = [sum(column.values()) if kind == "sum" else column[kind] for column in columns]
        if max(cells) >= 0.05:
            print(f"| {kind} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    return 0


def milliseconds(folder: Path, precision: str, threads: int, runs: int) -> Counter[str]:
    """Kind of operator -> milliseconds."""
    from hrfamily_deploy import bundle
    from hrfamily_deploy.runtime.backends.openvino_runtime import OpenVinoRunner, core, prepared_model

    network = bundle.read(folder)
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    settings["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
    model, constants = prepared_model(network.program, precision)
    backend = OpenVinoRunner(core().compile_model(model, "CPU", settings), constants)
    batch, _, height, width = network.input_shape
    noise = np.random.default_rng(0).integers(0, 256, network.input_of(batch, height, width))
    image = noise.astype(network.dtype) / (1 if network.takes_images else 128)
    least: dict[str, tuple[str, float]] = {}
    for run in range(_WARM_UP + runs):
        backend.run(image.astype(network.dtype))
        if run >= _WARM_UP:
            _keep_least(least, backend._request.get_profiling_info())
    return sum((Counter({kind: time}) for kind, time in least.values()), Counter())


def _keep_least(least: dict[str, tuple[str, float]], operators: Any) -> None:
    for operator in operators:
        time = operator.real_time.total_seconds() * 1000
        kind = operator.node_type + (" 1x1" if "1x1" in operator.exec_type else "")
        if time > 0:
            before = least.get(operator.node_name, (kind, np.inf))[1]
            least[operator.node_name] = (kind, min(time, before))


if __name__ == "__main__":
    from hrfamily_deploy.scripts import command_line

    sys.exit(command_line.run(main))
