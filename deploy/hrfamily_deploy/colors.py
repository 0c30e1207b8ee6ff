"""Colours of classes, as RGB of 0..255 each."""

from __future__ import annotations

Color = tuple[int, int, int]
UNSURE: Color = (255, 255, 255)  # of pixels whose class is left open


def palette(count: int) -> tuple[Color, ...]:
    """`count` colours, each new bit of a class number going to the highest free bits of red, green and blue.

    These are PASCAL VOC's, as PaddleSeg gives them out: without VOC's first, black.
    """
    return tuple(_spread_bits(index) for index in range(1, count + 1))


def _spread_bits(index: int) -> Color:
    red, green, blue = (
        sum((index >> (3 * position + channel) & 1) << (7 - position) for position in range(8)) for channel in range(3)
    )
    return red, green, blue
