"""An evaluation as one HTML file without outside hosts, as JSON, and as CSV."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from paddle_hrfamily.files import replacing
from paddle_hrfamily.visualization import charts

HTML, JSON = "report.html", "report.json"
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; --line: light-dark(#dde1e7, #343b46);
  --dim: light-dark(#5a6472, #9aa4b3); --page: light-dark(#fff, #12161c); --bar: light-dark(#c9d8f7, #2b4374); }
body { margin: 0 auto; max-width: 1240px; padding: 24px; background: var(--page); }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 40px 0 8px; } p { margin: 4px 0 12px; }
.dim, figcaption { color: var(--dim); } .wide { overflow-x: auto; }
dl { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
dl div { border: 1px solid var(--line); border-radius: 10px; padding: 10px 16px; }
dt { color: var(--dim); font-size: 13px; } dd { margin: 0; font-size: 22px; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
td.share { background: linear-gradient(var(--bar) 0 0) 0 0 / calc(100% * var(--share)) 100% no-repeat; }
figure { margin: 0 0 28px; } figure img { max-width: 100%; border: 1px solid var(--line); }
svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font: 12px system-ui, sans-serif; }
"""

Content = Mapping[str, Any]
Row = Sequence[object]


def write(folder: Path, content: Content, title: str, seen: str, pictures: Mapping[str, bytes]) -> Path:
    """Write report.html, report.json, confusion.svg and the tables as CSV into a folder; each whole or not at all.

    Args:
        content: what `hrfamily val --json` writes, with `boundary_iou`, `boundary_f1`, `components` and `each_image`,
            and `calibration` if it was measured.
        title: of the page.
        seen: how the network saw the images, in words.
        pictures: name -> JPEG, in their order.

    Returns:
        The path of report.html.

    Raises:
        UserError: a file cannot be written.
    """
    names = [entry["name"] for entry in content["classes"]]
    confusion = np.array(content["confusion_rows_are_labels"], "int64").reshape(len(names), len(names))
    matrix = charts.confusion(confusion, names)
    _write(folder / JSON, json.dumps(content, indent=1, ensure_ascii=False))
    _write(folder / "confusion.svg", matrix)
    for name, rows in tables(content).items():
        _write(folder / f"{name}.csv", _csv(rows))
    _write(folder / HTML, _page(content, title, seen, matrix, pictures))
    return folder / HTML


def tables(content: Content) -> dict[str, list[Row]]:
    """Name of a CSV file -> its rows, the first one being the header. Undefined measures are empty."""
    classes = content["classes"]
    measures = [key for key in classes[0] if key != "name"]
    boundaries = {key: content[key]["classes"] for key in ("boundary_iou", "boundary_f1")}
    components = content["components"]
    counts = ("components", "found", "pixels", "hits")
    return {
        "classes": [
            ["class", *measures, *boundaries],
            *(
                [entry["name"], *(entry[key] for key in measures), *(of[entry["name"]] for of in boundaries.values())]
                for entry in classes
            ),
        ],
        "confusion": [
            ["label \\ prediction", *(entry["name"] for entry in classes)],
            *([entry["name"], *row] for entry, row in zip(classes, content["confusion_rows_are_labels"])),
        ],
        "components": [
            ["class", "area", *counts],
            *(
                [entry["name"], area, *(entry[key][index] for key in counts)]
                for entry in components["classes"]
                for index, area in enumerate(components["area_in_pixels"])
            ),
        ],
        "images": [
            ["image", "miou", "accuracy"],
            *([entry["name"], entry["miou"], entry["accuracy"]] for entry in content["each_image"]),
        ],
    }


def _page(content: Content, title: str, seen: str, matrix: str, pictures: Mapping[str, bytes]) -> str:
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{content["images"]} images; {escape(seen)}</p>',
        _cards(content),
        "<h2>Classes</h2>" + _classes(content),
        "<h2>Confusion</h2><p>A row is a class of the labels; its colours show where its pixels went.</p>"
        f'<div class="wide">{matrix}</div>',
        _components(content["components"]),
    ]
    if "calibration" in content:
        sections.append(_calibration(content["calibration"]))
    if pictures:
        sections.append(
            "<h2>Worst images</h2><p>By the mean IoU of the classes in their labels. Errors are red; what the labels "
            "leave out counts as none.</p>"
        )
        scores = {entry["name"]: entry for entry in content["each_image"]}
        sections += [_figure(name, scores[name], jpeg) for name, jpeg in pictures.items()]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(sections)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n'
    )


def _cards(content: Content) -> str:
    cards = {
        "mIoU": content["miou"],
        "mIoU of classes in the labels": content["miou_present"],
        "pixel accuracy": content["pixel_accuracy"],
        "mean accuracy": content["mean_accuracy"],
        "kappa": content["kappa"],
        "Boundary IoU": content["boundary_iou"]["mean"],
        "Boundary F1": content["boundary_f1"]["mean"],
    }
    if "calibration" in content:
        cards["expected calibration error"] = content["calibration"]["before"]["ece"]
    entries = "".join(f"<div><dt>{name}</dt><dd>{_number(value)}</dd></div>" for name, value in cards.items())
    return f"<dl>{entries}</dl>"


def _classes(content: Content) -> str:
    header = ["class", "IoU", "accuracy", "precision", "Boundary IoU", "Boundary F1", "pixels"]
    rows = []
    for entry in content["classes"]:
        name, present = entry["name"], entry["share"] > 0
        scores = [entry[key] if present else None for key in ("iou", "accuracy", "precision")]
        scores += [content[key]["classes"][name] for key in ("boundary_iou", "boundary_f1")]
        rows.append([escape(name)] + [(_number(score), score) for score in scores] + [(f"{entry['share']:.2%}", None)])
    return _table(header, rows)


def _components(components: Content) -> str:
    rows = []
    for entry in components["classes"]:
        cells: list[object] = [escape(entry["name"])]
        for found, total, hits, pixels in zip(*(entry[key] for key in ("found", "components", "hits", "pixels"))):
            share = hits / pixels if pixels else None
            cells.append((f"{found} of {total}, {share:.1%}" if share is not None else "–", share))
        rows.append(cells)
    return (
        "<h2>Recall by size</h2><p>Connected components of the labels by their area, where 8² is 64 pixels: those of "
        "which more than half was found, and the share of their pixels that was.</p>"
        + _table(["class", *components["area_in_pixels"]], rows)
    )


def _calibration(found: Content) -> str:
    before, after, temperature = found["before"], found["after"], found["temperature"]
    pixels = sum(before["pixels"])
    return (
        f"<h2>Calibration</h2><p>Accuracy of {pixels} pixels by their maximum probability, in "
        f"{len(before['pixels'])} bins; on the diagonal probabilities are right. Expected calibration error "
        f"{before['ece']:.4f}; {after['ece']:.4f} with logits divided by the temperature {temperature:.4f}, fitted on "
        f"these pixels (<code>hrfamily export --temperature {temperature:.4f}</code>).</p>"
        + charts.reliability({"as it is": before, f"temperature {temperature:.2f}": after})
    )


def _figure(name: str, scores: Content, jpeg: bytes) -> str:
    data = base64.b64encode(jpeg).decode()
    caption = f"{escape(name)}: mean IoU {scores['miou']:.4f}, accuracy {scores['accuracy']:.4f}"
    alt = f"{escape(name)}: image, truth, prediction, errors"
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<img src="data:image/jpeg;base64,{data}" alt="{alt}" loading="lazy"></figure>'
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A cell is HTML, or HTML with the share 0..1 (or None) that its bar shows."""

    def cell(content: Any) -> str:
        text, share = content if isinstance(content, tuple) else (content, None)
        return f"<td>{text}</td>" if share is None else f'<td class="share" style="--share:{share:.4f}">{text}</td>'

    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
