"""Where configs come from: the files of this package, and those that `_base_` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from paddleseg.cvlibs.config import merge_config_dicts

from paddle_hrfamily.errors import UserError, nearest

_PACKAGE = Path(__file__).resolve().parent.parent
CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # in a wheel, in a checkout
BASE = "_base_"
_NAMES = ("classes", "class_names", "class_colors")  # keys that say what the classes are


def packaged_configs() -> dict[str, Path]:
    """This package's own configs by file name."""
    return {file.name: file for folder in CONFIG_FOLDERS for file in folder.glob("*.yml")}


def read(file: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a YAML file says, its bases merged in as PaddleSeg does.

    Args:
        above: the files that name this one as their base.

    Raises:
        UserError: it, or one of its bases, is missing, is no YAML or no mapping.
    """
    content = parsed(file)
    for base in bases(file, content, above):
        inherited = read(base, (*above, file))
        try:
            content = merge_config_dicts(content, _of_any_classes(inherited) if "classes" in content else inherited)
        except (AttributeError, TypeError) as error:  # a mapping here, and there something else
            raise UserError(f"{file}: a section of it is none in {base} ({error}); write both as mappings") from error
    content.pop(BASE, None)
    return content


def _of_any_classes(base: dict[str, Any]) -> dict[str, Any]:
    """A base without its classes and their number: whoever names classes takes their place."""
    rest = {key: value for key, value in base.items() if key not in _NAMES}
    for key in ("model", "train_dataset", "val_dataset"):
        if isinstance(rest.get(key), dict):
            rest[key] = {name: value for name, value in rest[key].items() if name != "num_classes"}
    return rest


def bases(file: Path, content: dict[str, Any], above: tuple[Path, ...] = ()) -> list[Path]:
    """The files that `_base_` names: beside the file itself, else this package's own of that name.

    Raises:
        UserError: there is none of that name, or it is one of those `above`.
    """
    named = content.get(BASE, [])
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UserError(f"{file}: {BASE} must be the name of a config, or a list of names, and is {named!r}")
    return [_base(file, name, (*above, file)) for name in named]


def _base(file: Path, name: str, above: tuple[Path, ...]) -> Path:
    packaged = packaged_configs()
    places = [file.parent / name, *(folder / name for folder in CONFIG_FOLDERS)]
    places += [packaged[Path(name).name]] if Path(name).name in packaged else []
    there = [place for place in places if place.is_file()]
    if not there:
        raise UserError(
            f"{file}: {BASE} names {name}, which does not exist, neither in {file.parent.absolute()} nor among this "
            f"package's configs{nearest(Path(name).name, packaged)}"
        )
    taken = {path.resolve() for path in above}
    found = next((place for place in there if place.resolve() not in taken), None)  # a copy may have the base's name
    if found is None:
        raise UserError(f"{file}: {BASE} names {name}, which leads back to {there[0]} itself; leave one of them out")
    return found


def parsed(file: Path) -> dict[str, Any]:
    """What a YAML file says, without its bases. Raises UserError if it is missing, no YAML or no mapping."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.FullLoader)  # as PaddleSeg does
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise UserError(f"{place}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: a config is a mapping of keys to values, and this is a {type(content).__name__}")
    return content
