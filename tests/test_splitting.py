"""Who trains and who validates: nothing on both sides, whole groups together, the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paddle_hrfamily.data.importing import preparing, splitting
from paddle_hrfamily.data.importing.preparing import Record
from paddle_hrfamily.errors import UserError


def record(index: int, content: str | None = None, split: str | None = None) -> Record:
    return Record(
        f"/data/video{index % 4}_{index:03d}.png", f"/l/{index}.png", split, 8, 8, (64, 0), content or str(index), ""
    )


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(8, 60),
    seed=st.integers(0, 9),
    share=st.floats(0.1, 0.6),
    same=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=5),
    grouped=st.booleans(),
)
def test_parts_share_nothing(count: int, seed: int, share: float, same: list, grouped: bool) -> None:
    contents = list(map(str, range(count)))
    for one, other in same:
        contents[one % count] = contents[other % count]
    records = [record(index, content) for index, content in enumerate(contents)]
    pattern = r"(video\d)_" if grouped else None
    assume(len(splitting.groups(records, pattern)) > 1)
    part = splitting.split(records, share, seed, pattern)
    assert sorted(r.image for r in (*part.train, *part.val)) == sorted(r.image for r in records)
    assert part.train and part.val
    assert not {r.content for r in part.train} & {r.content for r in part.val}
    if grouped:
        assert not {r.image[:12] for r in part.train} & {r.image[:12] for r in part.val}
    assert part == splitting.split(records, share, seed, pattern)


def test_folds_validate_everything_once() -> None:
    records = [record(index) for index in range(23)]
    parts = splitting.folds(records, 5, 0)
    assert sorted(r.image for part in parts for r in part.val) == sorted(r.image for r in records)
    assert all(len(part.val) in (4, 5) and len(part.train) + len(part.val) == 23 for part in parts)
    with pytest.raises(UserError, match="--folds 30: there are 23 groups of images"):
        splitting.folds(records, 30, 0)


def test_groups_are_by_a_pattern_of_the_name() -> None:
    records = [record(index) for index in range(8)]
    assert len(splitting.groups(records, r"video\d")) == 4
    with pytest.raises(UserError, match=r"--group-by 'scene' does not match /data/video0_000\.png"):
        splitting.groups(records, "scene")
    with pytest.raises(UserError, match="is no regular expression"):
        splitting.groups(records, "(")


def test_leaks_and_doubles_are_seen() -> None:
    records = [record(0, "same", "train"), record(1, "same", "val"), record(2, "other", "train")]
    assert [(a.image, b.image) for a, b in preparing.leaks(records)] == [
        ("/data/video0_000.png", "/data/video1_001.png")
    ]
    assert len(preparing.doubles(records)) == 1
