"""Show versions and devices, and what is known to be wrong with them, each with its fix.

    hrfamily doctor
    hrfamily doctor --json > report.json

Leaves with status 0 when the installation is sound and with 1 when something is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    from paddle_hrfamily.host.doctor import diagnosis, installation

    facts = installation.gather()
    findings = diagnosis.diagnose(facts)
    sound = not any(finding.level == "broken" for finding in findings)
    report = {"sound": sound, **_overview(facts), "findings": [asdict(finding) for finding in findings]}
    print(json.dumps(report, indent=2) if args.json else _as_text(report))
    return 0 if sound else 1


def _overview(facts: object) -> dict[str, object]:
    from paddle_hrfamily.host import environment

    built = facts.probed.get("paddle", {})
    variables = (environment.THREADS, environment.MKL, "CUDA_VISIBLE_DEVICES", "PADDLE_HRFAMILY_DISABLE")
    as_computing = {**os.environ, **environment.choices()}
    return {
        "versions": {"python": sys.version.split()[0], **facts.versions},
        "devices": {
            "cpu": environment.cpu_model(),
            "cores": environment.physical_cores(),
            "cuda": built.get("cuda"),
            "gpus": built.get("gpus") or facts.gpus,
            "computes on": facts.probed.get("computation", {}).get("device"),
        },
        "environment": {name: as_computing.get(name) for name in variables},
        "hook": "active" if facts.hooked else "off",
        "paddleseg from": facts.probed.get("paddleseg", {}).get("file"),
    }


def _as_text(report: dict[str, object]) -> str:
    lines = []
    for title in ("versions", "devices", "environment"):
        lines += [title, *(f"  {key:<24}{_shown(value)}" for key, value in report[title].items()), ""]
    lines += [f"import hook: {report['hook']}", f"paddleseg from: {report['paddleseg from'] or '-'}", ""]
    for finding in report["findings"]:
        lines += [f"{finding['level'].upper()}: {finding['what']}", f"  fix: {finding['fix']}"]
    lines.append("The installation is sound." if report["sound"] else "Something is broken: see above.")
    return "\n".join(lines)


def _shown(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(f"{gpu['name']} (compute capability {gpu['capability']})" for gpu in value) or "none"
    return "-" if value is None else value
