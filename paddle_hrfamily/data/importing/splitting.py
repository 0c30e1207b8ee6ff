"""Who trains and who validates: seeded, whole groups together, images of one content never on both sides."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddle_hrfamily.data.importing.preparing import Record, doubles
from paddle_hrfamily.errors import UserError


@dataclass(frozen=True)
class Split:
    """The parts of a data set; `test` is what the source itself keeps for that."""

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...] = ()


def groups(records: Sequence[Record], group_by: str | None = None) -> list[list[Record]]:
    """Records that must stay together: those of one group, and those of one content.

    Args:
        group_by: a pattern that each file name matches from its start; its first group, or all that it matches, is the
            name of the image's group, such as `(.*)_\\d+` for the frames of a video.

    Raises:
        UserError: it is no pattern, or an image does not match it.
    """
    parent = list(range(len(records)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    numbers = {id(record): index for index, record in enumerate(records)}
    together: list[Sequence[Record]] = list(doubles(records))
    together += list(_by_name(records, group_by).values()) if group_by else []
    for members in together:
        for member in members[1:]:
            parent[root(numbers[id(member)])] = root(numbers[id(members[0])])
    found: dict[int, list[Record]] = {}
    for index, record in enumerate(records):
        found.setdefault(root(index), []).append(record)
    return list(found.values())


def _by_name(records: Iterable[Record], group_by: str) -> dict[str, list[Record]]:
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise UserError(f"--group-by {group_by!r} is no regular expression ({error})") from error
    found: dict[str, list[Record]] = {}
    for record in records:
        match = pattern.match(Path(record.image).name)
        if match is None:
            raise UserError(
                f"--group-by {group_by!r} does not match {record.image}; write a pattern that every name has"
            )
        found.setdefault(match[1] if pattern.groups else match[0], []).append(record)
    return found


def split(records: Sequence[Record], share: float, seed: int, group_by: str | None = None) -> Split:
    """The source's own parts where it has train and val; else `share` of what trains is drawn for validation.

    Args:
        share: of the images, 0..1 without the ends.

    Raises:
        UserError: too few images or groups for two parts.
    """
    parts = {name: tuple(r for r in records if r.split == name) for name in ("train", "val", "test")}
    if parts["train"] and parts["val"]:
        return Split(parts["train"], parts["val"], parts["test"])
    rest = [record for record in records if record.split != "test"]
    found = groups(rest, group_by)
    if len(found) < 2:
        what = f"{len(rest)} images in {len(found)} groups" if group_by else f"{len(rest)} different images"
        raise UserError(f"{what} cannot be split into training and validation: two at least are needed")
    random.Random(seed).shuffle(found)
    wanted = max(1, round(share * len(rest)))
    val: list[Record] = []
    while found and len(found) > 1 and len(val) < wanted:
        val += found.pop()
    chosen = {id(record) for record in val}
    return Split(
        tuple(record for record in rest if id(record) not in chosen),
        tuple(record for record in rest if id(record) in chosen),
        parts["test"],
    )


def folds(records: Sequence[Record], count: int, seed: int, group_by: str | None = None) -> list[Split]:
    """`count` splits, each image validating in one of them; the greatest groups are dealt first, for even parts.

    Raises:
        UserError: fewer groups than folds.
    """
    rest = [record for record in records if record.split != "test"]
    test = tuple(record for record in records if record.split == "test")
    found = groups(rest, group_by)
    if len(found) < count:
        raise UserError(
            f"--folds {count}: there are {len(found)} groups of images; ask for {len(found)} folds or fewer"
        )
    random.Random(seed).shuffle(found)
    dealt: list[list[Record]] = [[] for _ in range(count)]
    for group in sorted(found, key=len, reverse=True):
        min(dealt, key=len).extend(group)
    order = {id(record): index for index, record in enumerate(rest)}
    splits = []
    for val in dealt:
        chosen = {id(record) for record in val}
        train = tuple(record for record in rest if id(record) not in chosen)
        splits.append(Split(train, tuple(sorted(val, key=lambda record: order[id(record)])), test))
    return splits
