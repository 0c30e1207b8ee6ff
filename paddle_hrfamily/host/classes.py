"""Names and colours of the classes, for tables, legends and exported models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.host.datasets import painter

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """One name and one RGB colour (0..255 each) per class, in the order of the labels' values."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(f"{len(self.names)} names and {len(self.colors)} colours")

    def __len__(self) -> int:
        return len(self.names)

    def recolored(self, flat: Sequence[int]) -> ClassTable:
        """The same classes, the first of them in other colours: r g b r g b … (PaddleSeg's `custom_color`).

        Raises:
            UserError: not three values of 0..255 for each colour.
        """
        if len(flat) % 3 or not all(_is_byte(value) for value in flat):
            raise UserError(f"custom_color {list(flat)} must be whole numbers of 0..255, three for each colour")
        given = tuple(zip(flat[::3], flat[1::3], flat[2::3]))[: len(self)]
        return replace(self, colors=given + self.colors[len(given) :])


def class_table(config: Mapping[str, Any]) -> ClassTable:
    """The classes that a config (a `Config.dic`) is about.

    The top-level keys `class_names` (texts) and `class_colors` (RGB triples) come first, then what is known of the
    dataset's type, then "class 0", "class 1" … in PaddleSeg's colours.

    Raises:
        UserError: not as many names or colours as classes, or none of the config's keys tells how many there are.
    """
    known = _known(_section(config, "val_dataset").get("type") or _section(config, "train_dataset").get("type"))
    names, colors = config.get("class_names"), config.get("class_colors")
    count = _count(config) or len(names or colors or (known.names if known else ()))
    if not count:
        raise UserError("the config does not tell how many classes there are; set model.num_classes")
    base = known if known and len(known) == count else _numbered(count)
    return ClassTable(
        _checked_names(names, count) if names is not None else base.names,
        _checked_colors(colors, count) if colors is not None else base.colors,
    )


def palette(count: int) -> tuple[Color, ...]:
    """`count` colours, each new bit of a class number going to the highest free bits of red, green and blue.

    These are PASCAL VOC's, as PaddleSeg gives them out: without VOC's first, black.
    """
    return tuple(_spread_bits(index) for index in range(1, count + 1))


def _spread_bits(index: int) -> Color:
    channels = [0, 0, 0]
    for position in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * position + channel) & 1) << (7 - position)
    return tuple(channels)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return config.get(key) or {}


def _count(config: Mapping[str, Any]) -> int | None:
    for key in ("model", "train_dataset", "val_dataset"):
        count = _section(config, key).get("num_classes")
        if count is not None:
            return count
    return None


def _numbered(count: int) -> ClassTable:
    return ClassTable(tuple(f"class {index}" for index in range(count)), palette(count))


def _checked_names(names: Any, count: int) -> tuple[str, ...]:
    if not isinstance(names, (list, tuple)) or len(names) != count:
        raise UserError(f"class_names must be a list of {count} names, one per class, not {_shown(names)}")
    return tuple(map(str, names))


def _checked_colors(colors: Any, count: int) -> tuple[Color, ...]:
    if not isinstance(colors, (list, tuple)) or len(colors) != count:
        raise UserError(f"class_colors must be a list of {count} colours, one per class, not {_shown(colors)}")
    for color in colors:
        if not isinstance(color, (list, tuple)) or len(color) != 3 or not all(_is_byte(value) for value in color):
            raise UserError(f"class_colors: {color!r} is no colour; write [red, green, blue] of 0..255")
    return tuple(map(tuple, colors))


def _shown(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else repr(value)


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _known(dataset_type: str | None) -> ClassTable | None:
    tables = {
        "StreetScenes": (painter.CLASSES, painter.COLORS),
        "Cityscapes": (tuple(_CITYSCAPES), tuple(_CITYSCAPES.values())),
        "CamVid": (tuple(_CAMVID), tuple(_CAMVID.values())),
        "ADE20K": (_listed(_ADE20K), palette(150)),
        "PascalVOC": (_listed(_PASCAL_VOC), ((0, 0, 0), *palette(20))),
        "PascalPersonPart": (_listed(_PERSON_PART), ((0, 0, 0), *palette(6))),
        "LIP": (_listed(_LIP), ((0, 0, 0), *palette(19))),
        "Synapse": (_listed(_SYNAPSE), ((0, 0, 0), *palette(8))),
        "NYUv2Depth": (("depth in metres",), palette(1)),
    }
    return ClassTable(*tables[dataset_type]) if dataset_type in tables else None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


# cityscapesscripts/helpers/labels.py, by trainId.
_CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}

# The colours of SegNet-Tutorial.
_CAMVID = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "sidewalk": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}

_PERSON_PART = "background, head, torso, upper arms, lower arms, upper legs, lower legs"

_LIP = """
background, hat, hair, glove, sunglasses, upper clothes, dress, coat, socks, trousers, jumpsuit, scarf, skirt, face,
left arm, right arm, left leg, right leg, left shoe, right shoe
"""

# The eight organs that TransUNet keeps of the thirteen, in its order.
_SYNAPSE = "background, aorta, gallbladder, left kidney, right kidney, liver, pancreas, spleen, stomach"

_PASCAL_VOC = """
background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorbike,
person, potted plant, sheep, sofa, train, tv monitor
"""

# The scene-parsing benchmark's objectInfo150.txt, the first of each entry's synonyms.
_ADE20K = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table,
pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench,
countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel,
light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel,
pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball,
food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood,
sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator,
glass, clock, flag
"""
