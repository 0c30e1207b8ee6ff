"""What a suite file says: named rows, each one config with a few changes.

source: DDRNet paper, table X            # printed above the table
published_on: Cityscapes val, mIoU       # what the rows' `published` were measured on; optional
config: ddrnet_23_slim_camvid.yml        # what every row starts from
rows:
  ppm:                                   # also the name of its folder
    published: 76.8
    model: {backbone: {context: ppm}}    # any section of a config, merged into it; or opts: [key.sub=value]
  plain:
    config: hrnet_w18_small_v2_camvid.yml  # a start of its own, which --config does not replace
  larger_crop:                           # changes that mean something else on another config
    by_config:
      ddrnet_23_slim_camvid.yml: {train_dataset: …}
      ddrnet_23_slim_cityscapes.yml: {}  # these are the configs that the row is for: --config takes no other

A row says what it changes, and is refused on a config for which it is not written.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from paddleseg.cvlibs import Config
from paddleseg.cvlibs.config import merge_config_dicts

from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.errors import UserError, nearest
from paddle_hrfamily.integration import config_file, config_sources

ROOM = "ablations"  # of the folder of configs
_SUITE_KEYS = ("source", "published_on", "config", "rows")
_ROW_KEYS = ("published", "config", "opts", "by_config")


@dataclass(frozen=True)
class Row:
    """One line of the table. `changes` are sections of a config, `opts` texts as --opts takes them."""

    name: str
    config: str
    changes: dict[str, Any]
    opts: tuple[str, ...] = ()
    published: float | None = None
    refusal: str = ""  # why the row makes no sense on this config

    def resolved(self, *, opts: list[str] | None = None, **options: Any) -> Config:
        """The row's config after its changes and opts, then `opts` and `options` as `config_file.load` takes them.

        Raises:
            UserError: the row is not for this config, or `config_file.load` refuses it; the message has the row's name.
        """
        if self.refusal:
            raise UserError(self.refusal)
        base = config_file.find_config(self.config).absolute()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "row.yml"
            file.write_text(yaml.safe_dump({**self.changes, "_base_": str(base)}), encoding="utf-8")
            try:
                return config_file.load(file, opts=[*self.opts, *(opts or [])], **options)
            except UserError as error:
                raise UserError(str(error).replace(str(file), f"row {self.name} on {base.name}")) from error


@dataclass(frozen=True)
class Suite:
    """A suite file: its stem, what it says about itself, and its rows in order.

    The rows of a suite of `folds` are one recipe on parts of one data set, which it makes sense to average.
    """

    name: str
    source: str
    published_on: str
    rows: tuple[Row, ...]
    folds: bool = False

    def select(self, names: list[str] | None) -> tuple[Row, ...]:
        """The rows of these names, in the suite's order; all without names.

        Raises:
            UserError: there is no row of a name.
        """
        known = [row.name for row in self.rows]
        for name in names or []:
            if name not in known:
                raise UserError(f"--rows {name}: {self.name} has {', '.join(known)}{nearest(name, known)}")
        return tuple(row for row in self.rows if not names or row.name in names)


def read_suite(path: str | Path, config: str | None = None) -> Suite:
    """Read a suite: the file as given, else the one of that name among this package's.

    Args:
        path: a YAML file, or the name of a packaged one with or without its ending.
        config: what rows start from, instead of the suite's. A row that has a config of its own, or is written for
            others, cannot; it says so when it is resolved.

    Raises:
        UserError: there is no such file, or it is no suite.
    """
    file = _find(path)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("rows"), dict) or not content["rows"]:
        raise UserError(f"{file}: a suite is a mapping with the key rows, which maps names to changes")
    for key in content:
        if key not in _SUITE_KEYS:
            raise UserError(f"{file}: a suite has no key {key}{nearest(key, _SUITE_KEYS)}")
    rows = tuple(_row(file, name, section, content.get("config"), config) for name, section in content["rows"].items())
    return Suite(file.stem, content.get("source", ""), content.get("published_on", ""), rows)


def suite_of_folds(files: list[str]) -> Suite:
    """A row for each of these configs, called like its file: the folds that `hrfamily new --folds` writes.

    Raises:
        UserError: there are less than two, two have one name, one does not exist, or their classes differ.
    """
    stems = [Path(file).stem for file in files]
    if len(set(stems)) < max(2, len(stems)):
        raise UserError(f"--folds {' '.join(files)}: give two configs or more, each with a name of its own")
    tables = [class_table(config_file.load(file).dic) for file in files]
    for file, table in zip(files, tables):
        if table.names != tables[0].names:
            raise UserError(
                f"--folds {file}: its classes are others than those of {files[0]}; folds are of one data set"
            )
    common = {re.sub(r"[_-]?(fold)?[_-]?\d+$", "", stem) for stem in stems}
    name = common.pop() if len(common) == 1 else ""
    rows = tuple(Row(stem, file, {}) for stem, file in zip(stems, files))
    return Suite(name or "folds", f"{len(files)} folds", "", rows, folds=True)


def _find(path: str | Path) -> Path:
    given = Path(path)
    if given.is_file():
        return given
    packaged = {file.stem: file for folder in config_sources.CONFIG_FOLDERS for file in (folder / ROOM).glob("*.yml")}
    if given.stem not in packaged or len(given.parts) > 1:
        raise UserError(f"{path} does not exist; this package's suites are {', '.join(sorted(packaged))}")
    return packaged[given.stem]


def _row(file: Path, name: Any, section: Any, suites: str | None, asked: str | None) -> Row:
    """The row `name`, on the config that was asked for, else on its own, else on the suite's."""
    where = f"{file}: row {name}"
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(f"{where}: a row's name is also its folder's: letters, digits, _ . + - (in quotes if need be)")
    section = {} if section is None else section
    if not isinstance(section, dict):
        raise UserError(f"{where} must map keys to values, and is {section!r}")
    known = (*_ROW_KEYS, *config_file.TOP_LEVEL)
    for key in section:
        if key not in known:
            raise UserError(f"{where}: neither a row nor a config has the key {key}{nearest(key, known)}")
    start = asked or section.get("config", suites)
    if start is None:
        raise UserError(f"{where}: no config to start from; give one there, in the suite, or as --config FILE")
    opts = section.get("opts", [])
    if not isinstance(opts, list):
        raise UserError(f"{where}: opts must be a list of KEY=VALUE, and is {opts!r}")
    changes = {key: value for key, value in section.items() if key not in _ROW_KEYS}
    by_config = section.get("by_config", {})
    if not isinstance(by_config, dict) or not all(isinstance(value, dict) for value in by_config.values()):
        raise UserError(f"{where}: by_config must map configs to changes, and is {by_config!r}")
    refusal = ""
    if asked and "config" in section:
        refusal = f"row {name} starts from {section['config']} whatever --config says; leave it out with --rows"
    elif by_config and Path(start).name not in by_config:
        refusal = f"row {name} is written for {' and '.join(by_config)}, not for {Path(start).name}"
    changes = merge_config_dicts(by_config.get(Path(start).name, {}), changes)
    return Row(name, start, changes, tuple(map(str, opts)), section.get("published"), refusal)
