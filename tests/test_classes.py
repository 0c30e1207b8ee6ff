"""Names and colours: the config's own first, then the data set's, then numbered ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddleseg.utils.visualize import get_color_map_list

from hrfamily_deploy.colors import palette
from paddle_hrfamily.data.classes import ClassTable, class_table
from paddle_hrfamily.errors import UserError


def of_type(name: str, **model) -> dict:
    return {"train_dataset": {"type": name}, "val_dataset": {"type": name}, "model": model}


@pytest.mark.parametrize(
    ("dataset", "count", "first", "last"),
    [
        ("Cityscapes", 19, ("road", (128, 64, 128)), ("bicycle", (119, 11, 32))),
        ("StreetScenes", 8, ("sky", (70, 130, 180)), ("pole", (250, 170, 30))),
        ("ADE20K", 150, ("wall", (128, 0, 0)), ("flag", None)),
        ("PascalVOC", 21, ("background", (0, 0, 0)), ("tv monitor", (0, 64, 128))),
    ],
)
def test_known_data_sets(dataset, count, first, last):
    table = class_table(of_type(dataset, num_classes=count))
    assert len(table) == len(set(table.names)) == len(set(table.colors)) == count
    assert (table.names[0], table.colors[0]) == first
    assert table.names[-1] == last[0]
    assert last[1] in (None, table.colors[-1])
    assert all(name == name.strip() != "" for name in table.names)


def test_the_data_set_alone_tells_the_count():
    assert len(class_table(of_type("Cityscapes"))) == 19


def test_other_data_sets_get_numbers_and_paddlesegs_colours():
    table = class_table({"train_dataset": {"type": "Dataset", "num_classes": 5}, "model": {}})
    assert table.names == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert [value for color in table.colors for value in color] == get_color_map_list(5)[:15]


def test_a_known_data_set_with_another_count_is_not_believed():
    assert class_table(of_type("Cityscapes", num_classes=20)).names[0] == "class 0"


def test_the_config_has_the_last_word():
    config = {
        **of_type("Cityscapes", num_classes=2),
        "class_names": ["dry", "wet"],
        "class_colors": [[1, 2, 3], [4, 5, 6]],
    }
    assert class_table(config) == ClassTable(("dry", "wet"), ((1, 2, 3), (4, 5, 6)))
    assert class_table({**config, "class_colors": None}).names == ("dry", "wet")


def test_names_alone_tell_the_count():
    assert class_table({"class_names": ["a", "b", "c"]}).names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"class_names": ["a"]}, "class_names must be a list of 2 names.*a list of 1"),
        ({"class_names": "ab"}, "class_names must be a list of 2 names.*'ab'"),
        ({"class_colors": [[0, 0, 0]] * 3}, "class_colors must be a list of 2 colours.*a list of 3"),
        ({"class_colors": [[0, 0, 0], [0, 0, 256]]}, r"\[0, 0, 256\] is no colour"),
        ({"class_colors": [[0, 0, 0], "red"]}, "'red' is no colour"),
        ({"class_colors": [[0, 0, 0], [0, 0.5, 0]]}, "is no colour"),
    ],
)
def test_wrong_keys_are_named(keys, message):
    with pytest.raises(UserError, match=message):
        class_table({"model": {"num_classes": 2}, **keys})


def test_a_config_that_does_not_tell_the_count_is_refused():
    with pytest.raises(UserError, match="model.num_classes"):
        class_table({"train_dataset": {"type": "Dataset"}})


def test_the_palette_is_paddlesegs():
    assert [value for color in palette(255) for value in color] == get_color_map_list(255)[: 3 * 255]


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=6))
def test_recoloured_as_paddleseg_does(colors):
    flat = [value for color in colors for value in color]
    table = ClassTable(tuple("abcd"), palette(4)).recolored(flat)
    expected = get_color_map_list(256, custom_color=flat)[:12]
    assert [value for color in table.colors for value in color] == expected
    assert table.names == tuple("abcd")


@pytest.mark.parametrize("flat", [[1, 2], [1, 2, 256], [0.5, 0, 0], [-1, 0, 0]])
def test_no_colours(flat):
    with pytest.raises(UserError, match="custom_color"):
        ClassTable(("a",), palette(1)).recolored(flat)
