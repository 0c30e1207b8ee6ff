"""Show versions and devices, and what is known to be wrong with them, each with its fix.

    hrfamily doctor
    hrfamily doctor --json > report.json

Also which extras are installed, and what is changed in PaddleSeg and Paddle while this package is plugged in. The exit
status is 0 when the installation is sound and 1 when something is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paddle_hrfamily.doctor.installation import Facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    from paddle_hrfamily.doctor import diagnosis, installation

    facts = installation.gather()
    findings = diagnosis.diagnose(facts)
    sound = not any(finding.level == "broken" for finding in findings)
    report: dict[str, Any] = {"sound": sound, **_overview(facts), "findings": [asdict(finding) for finding in findings]}
    print(json.dumps(report, indent=2) if args.json else _as_text(report))
    return 0 if sound else 1


def _overview(facts: Facts) -> dict[str, object]:
    from hrfamily_deploy import cpu
    from paddle_hrfamily import system
    from paddle_hrfamily.integration.repairs import TABLE

    here = cpu.read()
    built = facts.probed.get("paddle", {})
    variables = (system.THREADS, system.MKL, "CUDA_VISIBLE_DEVICES", "PADDLE_HRFAMILY_DISABLE")
    as_computing = {**os.environ, **system.choices()}
    return {
        "versions": {"python": sys.version.split()[0], **facts.versions},
        "devices": {
            "cpu": here.name or "unknown",
            "cores": here.cores,
            "cuda": built.get("cuda"),
            "gpus": built.get("gpus") or facts.gpus,
            "computes on": facts.probed.get("computation", {}).get("device"),
        },
        "environment": {name: as_computing.get(name) for name in variables},
        "hook": "active" if facts.hooked else "off",
        "paddleseg from": facts.probed.get("paddleseg", {}).get("file"),
        "extras": facts.extras,
        "repairs": [asdict(repair) for repair in TABLE],
    }


def _as_text(report: dict[str, Any]) -> str:
    lines = []
    for title in ("versions", "devices", "environment"):
        lines += [title, *(f"  {key:<24}{_shown(value)}" for key, value in report[title].items()), ""]
    lines += ["extras", *(f"  {name:<24}{_extra(name, missing)}" for name, missing in report["extras"].items()), ""]
    lines += [f"import hook: {report['hook']}", f"paddleseg from: {report['paddleseg from'] or '-'}", ""]
    lines += [
        "changed in PaddleSeg 2.8.0 and Paddle, and what happens without it",
        *map(_repair, report["repairs"]),
        "",
    ]
    for finding in report["findings"]:
        lines += [f"{finding['level'].upper()}: {finding['what']}", f"  fix: {finding['fix']}"]
    lines.append("The installation is sound." if report["sound"] else "Something is broken: see above.")
    return "\n".join(lines)


def _shown(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(f"{gpu['name']} (compute capability {gpu['capability']})" for gpu in value) or "none"
    return "-" if value is None else value


def _extra(name: str, missing: list[str]) -> str:
    return f"without {', '.join(missing)}: pip install 'paddle_hrfamily[{name}]'" if missing else "installed"


def _repair(repair: dict[str, Any]) -> str:
    """The first function that is changed, and why."""
    name = ".".join(repair["patched"][0].split(".")[-2:])
    return f"  {name}: {repair['why']}"
