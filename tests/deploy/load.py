"""The server's throughput beside that of the bare predictor with full batches, in turns in one run.

python -m tests.deploy.load output/exported folder/of/jpegs --max-batch 4 --users 12 --seconds 20 --rounds 3

Needs locust. The predictor goes from images' files to label maps; the server does that over HTTP on loopback, and
encodes the label maps as PNG.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.server_process import DEPLOY, started

sys.path.insert(0, str(DEPLOY))

from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line

_PICTURES = 64


@dataclass(frozen=True)
class Load:
    """What locust saw: images a second, failures, and requests by milliseconds."""

    rate: float
    errors: int
    times: Counter[int]

    def percentile(self, part: float) -> int:
        wanted = part * sum(self.times.values())
        counted = itertools.accumulate(self.times[value] for value in sorted(self.times))
        return next(value for value, count in zip(sorted(self.times), counted) if count >= wanted)


def bare(predictor: Predictor, pictures: list[bytes], seconds: float) -> float:
    """Images a second, in full batches."""
    count, begun, turn = 0, time.monotonic(), itertools.cycle(pictures)
    batch = predictor.plan().batch
    while time.monotonic() - begun < seconds:
        count += len(list(predictor.predict_each(itertools.islice(turn, batch))))
    return count / (time.monotonic() - begun)


def loaded(url: str, folder: Path, users: int, seconds: int) -> Load:
    """Users that come at once, each sending its next image when it has the last one's map."""
    command = [sys.executable, "-m", "locust", "-f", Path(__file__).with_name("locustfile.py"), "--host", url]
    command += ["--headless", "--json", "--only-summary", "-u", users, "-r", users, "-t", f"{seconds}s"]
    environment = {**os.environ, "PICTURES": str(folder)}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    start = done.stdout.find("[")
    if start < 0:
        raise SystemExit(done.stderr)
    (entry,) = json.loads(done.stdout[start:])
    duration = entry["last_request_timestamp"] - entry["start_time"]
    times = Counter({round(float(time)): count for time, count in entry["response_times"].items()})
    return Load(entry["num_requests"] / duration, entry["num_failures"], times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an exported network")
    parser.add_argument("pictures", type=Path, help="a folder of JPEGs of one size")
    parser.add_argument("--backend", default="paddle")
    parser.add_argument("--max-batch", type=int, default=4)
    parser.add_argument("--users", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=20, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    pictures = [file.read_bytes() for file in sorted(args.pictures.glob("*.jpg"))[:_PICTURES]]
    predictor = Predictor(args.folder, device="cpu", backend=args.backend, batch=args.max_batch)
    bare(predictor, pictures, 1)
    rates, loads = [], []
    with started(f"street={args.folder}", "--backend", args.backend, "--max-batch", args.max_batch) as server:
        loaded(server.url, args.pictures, args.users, args.seconds)  # kernels for these sizes are chosen
        for number in range(args.rounds):
            rates.append(bare(predictor, pictures, args.seconds))
            loads.append(loaded(server.url, args.pictures, args.users, args.seconds))
            print(f"round {number + 1}: predictor {rates[-1]:.2f}/s, server {loads[-1].rate:.2f}/s", flush=True)
        rates.append(bare(predictor, pictures, args.seconds))
    # Each turn of the server against those of the predictor before and after it: the machine's pace may drift.
    ratios = [2 * load.rate / (before + after) for load, before, after in zip(loads, rates, rates[1:])]
    every = Load(statistics.median(load.rate for load in loads), sum(load.errors for load in loads), Counter())
    for load in loads:
        every.times.update(load.times)
    print(f"{sum(every.times.values())} requests of {args.users} users, {every.errors} errors")
    print(f"p50 {every.percentile(0.5)} ms, p99 {every.percentile(0.99)} ms")
    print(f"server {every.rate:.2f}/s, predictor {statistics.median(rates):.2f}/s")
    print(f"ratio {statistics.median(ratios):.3f} (of rounds: {', '.join(f'{ratio:.3f}' for ratio in ratios)})")
    return int(every.errors > 0 or statistics.median(ratios) < 0.9)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
