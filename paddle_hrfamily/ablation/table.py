"""The result of a comparison: one line a row, mean ± spread over its seeds, as Markdown and as JSON.

Of folds, a second table has mean ± spread over them, one line a measure.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from paddle_hrfamily.ablation.suite import Suite
from paddle_hrfamily.files import write_json, write_text

MARKDOWN, JSON = "table.md", "table.json"
# Measures over folds: a result's key -> what it is called, factor, digits. The IoU of each class comes behind.
_OF_FOLDS = {
    "miou": ("mIoU, %", 100, 2),
    "pixel_accuracy": ("pixel accuracy, %", 100, 2),
    "mean_accuracy": ("mean accuracy, %", 100, 2),
    "loss": ("final loss", 1, 4),
}


@dataclass
class Line:
    """What is known of one row. `results` are those of its finished runs, `problem` why one is missing."""

    name: str
    published: float | None
    parameters: int | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    def summary(self) -> dict[str, Any]:
        """All of it as JSON types, with mean and spread of the mIoU and of the final loss."""
        measures = {key: spread([run[key] for run in self.results]) for key in ("miou", "loss")}
        return {**asdict(self), **measures}


def spread(values: list[float]) -> dict[str, float] | None:
    """Mean and sample standard deviation (0 of one value); None of no values."""
    if not values:
        return None
    return {"mean": statistics.fmean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0}


def over_folds(lines: list[Line]) -> dict[str, dict[str, float]]:
    """Mean, sample standard deviation and number of folds of each measure; a fold's is the mean over its seeds.

    A class that no label of a fold has counts in the others alone.
    """
    values: dict[str, list[float]] = {}
    for line in lines:
        of_fold: dict[str, list[float]] = {}
        for result in line.results:
            measures = {key: result[key] for key in _OF_FOLDS}
            measures.update({f"IoU {name}, %": iou for name, iou in result["class_iou"].items() if iou is not None})
            for key, value in measures.items():
                of_fold.setdefault(key, []).append(value)
        for key, found in of_fold.items():
            values.setdefault(key, []).append(statistics.fmean(found))
    return {key: {**(spread(found) or {}), "folds": len(found)} for key, found in values.items()}


def write(folder: Path, suite: Suite, lines: list[Line]) -> str:
    """Write table.md and table.json into `folder`. Returns the Markdown."""
    text = markdown(suite, lines)
    write_text(folder / MARKDOWN, text)
    content = {"suite": suite.name, "source": suite.source, "published_on": suite.published_on}
    folds = {"folds": over_folds(lines)} if suite.folds else {}
    write_json(folder / JSON, {**content, "rows": [line.summary() for line in lines], **folds})
    return text


def markdown(suite: Suite, lines: list[Line]) -> str:
    """The table, what its figures are, and what went wrong."""
    published = any(line.published is not None for line in lines)
    header = ["row", *(["paper"] if published else []), "parameters", "val mIoU, %", "final loss", "seeds"]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for line in lines:
        paper = [f"{line.published:.2f}" if line.published is not None else "–"] if published else []
        count = f"{line.parameters / 1e6:.4f} M" if line.parameters else "–"
        rows.append([line.name, *paper, count, *_measures(line)])
    problems = [f"- {line.name}: {line.problem}" for line in lines if line.problem]
    blocks = [
        f"# {suite.name}" + (f": {suite.source}" if suite.source else ""),
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
        *_folds_table(suite, lines),
        _legend(suite, lines, published),
        *(["Without all of their results:\n\n" + "\n".join(problems)] if problems else []),
    ]
    return "\n\n".join(blocks) + "\n"


def _folds_table(suite: Suite, lines: list[Line]) -> list[str]:
    """The table over folds, once one of them has a result."""
    measures = over_folds(lines) if suite.folds else {}
    if not measures:
        return []
    rows = [["measure", "mean ± standard deviation over folds", "folds"], ["---", "---:", "---:"]]
    for key, found in measures.items():
        name, factor, digits = _OF_FOLDS.get(key, (key, 100, 2))
        mean, deviation = (f"{factor * found[part]:.{digits}f}" for part in ("mean", "deviation"))
        rows.append([name, f"{mean} ± {deviation}" if found["folds"] > 1 else mean, str(found["folds"])])
    return ["\n".join(f"| {' | '.join(row)} |" for row in rows)]


def _measures(line: Line) -> list[str]:
    if not line.results:
        return ["failed" if line.problem else "not run", "–", "–"]
    seeds = ", ".join(str(run["seed"]) for run in line.results)
    return [_shown(line, "miou", 100, 2), _shown(line, "loss", 1, 4), seeds]


def _shown(line: Line, key: str, scale: float, digits: int) -> str:
    measure = line.summary()[key]
    mean = f"{scale * measure['mean']:.{digits}f}"
    return f"{mean} ± {scale * measure['deviation']:.{digits}f}" if len(line.results) > 1 else mean


def _legend(suite: Suite, lines: list[Line], published: bool) -> str:
    results = [run for line in lines for run in line.results]
    iterations = sorted({run["iterations"] for run in results})
    versions = sorted({" ".join(f"{name} {number}" for name, number in run["versions"].items()) for run in results})
    parts = [
        "Mean ± standard deviation over the seeds. mIoU: of the last checkpoint, on all validation images. Final loss: "
        "mean over the last tenth of training, of all outputs, so rows with other losses differ in it. Parameters: "
        "trainable, auxiliary heads included.",
        f"Paper: {suite.published_on or 'the figure it prints'}." if published else "",
        f"Iterations: {', '.join(map(str, iterations))}; {'; '.join(versions)}." if results else "",
    ]
    return " ".join(filter(None, parts))
