"""Draws one labelled street scene from a random generator: a pinhole camera looks down a street, drawn far to near.

World axes in metres: x to the right of the camera, y up from the ground, z ahead. Everything is drawn at twice the
wanted size, and the image is then averaged, the label picked: edges blend in the image as they do in a photograph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = {
    "sky": (70, 130, 180),
    "building": (70, 70, 70),
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "vegetation": (107, 142, 35),
    "car": (0, 0, 142),
    "person": (220, 20, 60),
    "pole": (250, 170, 30),
}
SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, PERSON, POLE = range(len(CLASSES))
IGNORE = 255

_OVERSAMPLING = 2
_NEAR = 1.5  # nothing nearer to the camera than this is drawn (m)
_FAR = 70.0

Color = np.ndarray  # (3,) float, RGB 0..255
Point = tuple[float, float, float]


def render_street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One scene of `size` (width, height).

    Returns the image (height, width, 3), RGB uint8, and its label (height, width), uint8: 0..7 as in `CLASSES`, or
    255 where nothing is known (the car's own bonnet, the outermost pixels).
    """
    width, height = size
    scene = _Scene(rng, width * _OVERSAMPLING, height * _OVERSAMPLING)
    scene.draw()
    image = cv2.resize(_photograph(rng, scene.image), size, interpolation=cv2.INTER_AREA)
    image += rng.normal(0, rng.uniform(2, 5), image.shape)  # the sensor's noise
    label = scene.label[::_OVERSAMPLING, ::_OVERSAMPLING].copy()
    label[:, [0, -1]] = IGNORE
    return np.clip(image, 0, 255).astype(np.uint8), label


@dataclass(frozen=True)
class _Street:
    """Where the road ends and the house fronts begin on each side of the camera, all in metres."""

    left: float
    right: float
    left_front: float
    right_front: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Street:
        left, right = -rng.uniform(2.0, 5.5), rng.uniform(2.0, 5.5)
        return cls(left, right, left - rng.uniform(2.8, 5.5), right + rng.uniform(2.8, 5.5))

    def edges(self, side: int) -> tuple[float, float]:
        return (self.left, self.left_front) if side < 0 else (self.right, self.right_front)


class _Scene:
    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng, self.width, self.height = rng, width, height
        self.image = np.zeros((height, width, 3), np.float32)
        self.label = np.full((height, width), SKY, np.uint8)
        self.focal = width * rng.uniform(0.75, 1.1)
        self.center = width * rng.uniform(0.35, 0.65)
        self.horizon = height * rng.uniform(0.42, 0.6)
        self.eye = rng.uniform(1.3, 2.2)
        self.street = _Street.draw(rng)
        self.haze = _grey(rng, 150, 225) + rng.uniform(-8, 8, 3)
        self.visibility = rng.uniform(45, 220)

    def draw(self) -> None:
        self._sky()
        self._ground()
        things = [*self._rows(), *self._traffic(), *self._people(), *self._poles()]
        for _, thing in sorted(things, key=lambda item: -item[0]):
            thing()
        self._textures()
        if self.rng.random() < 0.4:
            self._bonnet()

    # -- camera ------------------------------------------------------------------------------------------------------

    def project(self, point: Point) -> tuple[float, float]:
        x, y, z = point
        z = max(z, _NEAR)
        return self.center + self.focal * x / z, self.horizon + self.focal * (self.eye - y) / z

    def fill(self, corners: list[Point], color: Color, category: int | None) -> None:
        """A plane polygon in the world. Without a category only the image changes (windows, markings, shadows)."""
        pixels = np.array([self.project(corner) for corner in corners])
        pixels = np.clip(np.rint(pixels), -30_000, 30_000).astype(np.int32)
        depth = float(np.mean([corner[2] for corner in corners]))
        cv2.fillPoly(self.image, [pixels], self.hazed(color, depth).tolist())
        if category is not None:
            cv2.fillPoly(self.label, [pixels], category)

    def ellipse(self, point: Point, radii: tuple[float, float], color: Color, category: int | None) -> None:
        x, y = (int(round(value)) for value in self.project(point))
        scale = self.focal / max(point[2], _NEAR)
        axes = tuple(max(1, int(round(radius * scale))) for radius in radii)
        cv2.ellipse(self.image, (x, y), axes, 0, 0, 360, self.hazed(color, point[2]).tolist(), -1)
        if category is not None:
            cv2.ellipse(self.label, (x, y), axes, 0, 0, 360, category, -1)

    def shadow(self, x: float, z: float, half_width: float, half_length: float) -> None:
        """Darken the ground under a thing that stands at (x, z)."""
        mask = np.zeros((self.height, self.width), np.float32)
        around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        rim = [(x + half_width * np.cos(a), 0.0, z + half_length * np.sin(a)) for a in around]
        pixels = np.clip(np.rint([self.project(point) for point in rim]), -30_000, 30_000).astype(np.int32)
        cv2.fillPoly(mask, [pixels], 1.0)
        self.image *= 1 - 0.45 * cv2.blur(mask, (5, 5))[..., None]

    def hazed(self, color: Color, depth: float) -> Color:
        share = np.exp(-depth / self.visibility)
        return share * color + (1 - share) * self.haze

    def facing(self, x: float, z: float, low: float, high: float, half_width: float) -> list[Point]:
        """A rectangle that faces the camera."""
        left, right = x - half_width, x + half_width
        return [(left, low, z), (right, low, z), (right, high, z), (left, high, z)]

    # -- backdrop ----------------------------------------------------------------------------------------------------

    def _sky(self) -> None:
        rng = self.rng
        grey = rng.random() < 0.35
        zenith = _grey(rng, 140, 220) if grey else np.array([rng.uniform(60, 140), rng.uniform(120, 185), 225.0])
        ramp = np.clip(np.arange(self.height) / self.horizon, 0, 1)[:, None, None]
        self.image[:] = (1 - ramp) * zenith + ramp * self.haze
        clouds = _fractal(rng, self.height, self.width, (3, 6, 14))
        cover = np.clip((clouds - rng.uniform(0.45, 0.8)) * 3, 0, 1)[..., None] * rng.uniform(0.4, 1.0)
        self.image += cover * (rng.uniform(205, 255) - self.image)

    def _ground(self) -> None:
        rng, street = self.rng, self.street
        verge = np.array([rng.uniform(70, 120), rng.uniform(95, 140), rng.uniform(40, 75)])
        self.fill([(-900, 0, _NEAR), (900, 0, _NEAR), (900, 0, 900), (-900, 0, 900)], verge, VEGETATION)
        paving, asphalt = _grey(rng, 120, 200) + rng.uniform(-12, 12, 3), _grey(rng, 62, 125)
        for side in (-1, 1):
            edge, front = street.edges(side)
            self._strip(edge, front, paving, SIDEWALK)
            self._strip(edge, edge + side * 0.25, paving * 0.75, SIDEWALK)  # the kerb
        self._strip(street.left, street.right, asphalt, ROAD)
        self._markings()

    def _strip(self, start: float, stop: float, color: Color, category: int | None) -> None:
        """A band along the street, in pieces so that haze takes it gradually."""
        depths = np.concatenate([np.geomspace(_NEAR, 120, 14), [900.0]])
        for near, far in zip(depths[:-1], depths[1:]):
            self.fill([(start, 0, near), (stop, 0, near), (stop, 0, far), (start, 0, far)], color, category)

    def _markings(self) -> None:
        rng, street = self.rng, self.street
        paint = _grey(rng, 175, 245)
        middle = rng.uniform(0.35, 0.65) * (street.right - street.left) + street.left
        dash, gap = rng.uniform(2, 4), rng.uniform(2, 5)
        if rng.random() < 0.85:
            for start in np.arange(rng.uniform(1, 4), _FAR, dash + gap):
                corners = [(middle - 0.09, 0, start), (middle + 0.09, 0, start)]
                self.fill([*corners, *((x, 0, start + dash) for x, _, _ in reversed(corners))], paint, None)
        if rng.random() < 0.4:
            for edge in (street.left + 0.3, street.right - 0.3):
                self._strip(edge - 0.07, edge + 0.07, paint, None)
        if rng.random() < 0.3:  # a zebra crossing
            z = rng.uniform(6, 16)
            for x in np.arange(street.left + 0.3, street.right - 0.4, 0.9):
                self.fill([(x, 0, z), (x + 0.45, 0, z), (x + 0.45, 0, z + 2.5), (x, 0, z + 2.5)], paint, None)

    # -- what stands along the street --------------------------------------------------------------------------------

    def _rows(self) -> list[tuple[float, Callable[[], None]]]:
        """Houses, gaps between them, and trees on both sides, as (depth, what draws it)."""
        rng, things = self.rng, []
        for side in (-1, 1):
            edge, front = self.street.edges(side)
            z = rng.uniform(-8, 3)
            while z < _FAR:
                length = rng.uniform(6, 18)
                if rng.random() < 0.8:
                    house = self._house(side, front + side * rng.uniform(0, 1.5), max(z, _NEAR), z + length)
                    things.append((z + length / 2, house))
                else:
                    for _ in range(3):
                        x = front + side * rng.uniform(1.0, 7)
                        depth = z + rng.uniform(0, length)
                        if depth > 4:
                            things.append((depth, self._tree(x, depth)))
                z += length + rng.uniform(0, 3) * (rng.random() < 0.4)
            for depth in np.arange(rng.uniform(5, 14), 40, rng.uniform(7, 18)):
                if rng.random() < 0.45:
                    things.append((depth, self._tree(edge + side * rng.uniform(0.7, 1.4), depth)))
        return things

    def _house(self, side: int, x: float, near: float, far: float) -> Callable[[], None]:
        rng = self.rng
        height, depth = rng.uniform(4, 17), rng.uniform(8, 14)
        wall = np.array([rng.uniform(105, 215), rng.uniform(90, 190), rng.uniform(75, 175)])
        lit = rng.uniform(0.55, 1.0)
        glass = np.array([rng.uniform(30, 90), rng.uniform(40, 100), rng.uniform(55, 120)])
        storey, bay = rng.uniform(2.6, 3.6), rng.uniform(1.8, 3.4)
        roof = rng.uniform(-0.4, 0.4) * wall

        def draw() -> None:
            self.fill([(x, 0, near), (x, 0, far), (x, height, far), (x, height, near)], wall * lit, BUILDING)
            self.fill(self.facing(x + side * depth / 2, near, 0, height, depth / 2), wall * (1.35 - lit), BUILDING)
            band = [(x, height - 0.5, near), (x, height - 0.5, far), (x, height, far), (x, height, near)]
            self.fill(band, wall + roof, None)
            for floor in np.arange(0.9, height - 1.8, storey):
                for z in np.arange(near + 0.6, far - 1.4, bay):
                    low, high = floor, floor + storey * 0.5
                    self.fill([(x, low, z), (x, low, z + 1.1), (x, high, z + 1.1), (x, high, z)], glass, None)
                for across in np.arange(1.0, depth - 1.4, bay):
                    middle = x + side * (across + 0.5)
                    self.fill(self.facing(middle, near, floor, floor + storey * 0.5, 0.5), glass, None)

        return draw

    def _tree(self, x: float, z: float) -> Callable[[], None]:
        rng = self.rng
        trunk, crown = rng.uniform(1.4, 2.8), rng.uniform(1.2, 2.6)
        bark = np.array([rng.uniform(60, 95), rng.uniform(48, 75), rng.uniform(35, 55)])
        leaf = np.array([rng.uniform(35, 110), rng.uniform(75, 135), rng.uniform(25, 60)])
        blobs = [
            (rng.uniform(-0.6, 0.6) * crown, rng.uniform(0, 1.2) * crown, rng.uniform(0.45, 0.8) * crown, shade)
            for shade in np.linspace(0.65, 1.3, 14)
        ]

        def draw() -> None:
            self.shadow(x, z, crown, crown * 0.7)
            self.fill(self.facing(x, z, 0, trunk + crown * 0.5, 0.14), bark, VEGETATION)
            for dx, dy, radius, shade in blobs:
                self.ellipse((x + dx, trunk + dy + 0.2, z), (radius, radius * 0.85), leaf * shade, VEGETATION)

        return draw

    # -- what moves --------------------------------------------------------------------------------------------------

    def _traffic(self) -> list[tuple[float, Callable[[], None]]]:
        rng, street, things = self.rng, self.street, []
        middle = (street.left + street.right) / 2
        parked = street.right - street.left > 7
        for side in (-1, 1):
            edge = street.edges(side)[0]
            lanes = [((middle + edge) / 2, 0.45, 9.0)] + ([(edge - side * 1.1, 0.6, 5.5)] if parked else [])
            for x, share, spacing in lanes:
                for z in np.arange(rng.uniform(4.5, 12), 34, spacing):
                    if rng.random() < share:
                        depth = z + rng.uniform(0, 2)
                        things.append((depth, self._car(x + rng.uniform(-0.2, 0.2), depth, rear=side > 0)))
        return things

    def _car(self, x: float, z: float, *, rear: bool) -> Callable[[], None]:
        """A car whose near end stands at z, seen from behind or from the front."""
        rng = self.rng
        half, length = rng.uniform(0.82, 0.98), rng.uniform(3.4, 4.8)
        belt, roof = rng.uniform(0.85, 1.05), rng.uniform(1.35, 1.9)
        body = _car_paint(rng)
        glass, tyre = _grey(rng, 25, 75), _grey(rng, 15, 40)
        lamp = np.array([200.0, 25, 25]) if rear else np.array([250.0, 250, 225])
        cabin = z + length * rng.uniform(0.05, 0.3)
        flank = x - half if x > 0 else x + half  # the side that the camera sees

        def draw() -> None:
            self.shadow(x, z + length / 2, half * 1.25, length * 0.6)
            end = z + length
            self.fill([(flank, 0.3, z), (flank, 0.3, end), (flank, belt, end), (flank, belt, z)], body * 0.7, CAR)
            top = [(x - half, belt, z), (x + half, belt, z), (x + half, belt, end), (x - half, belt, end)]
            self.fill(top, body * 1.15, CAR)
            inner = flank * 0.95 + x * 0.05
            window = [
                (flank, belt, cabin),
                (flank, belt, end - 0.5),
                (inner, roof, end - 1),
                (inner, roof, cabin + 0.3),
            ]
            self.fill(window, body * 0.6, CAR)
            self.fill([(a, b - 0.08 * (b > belt), c) for a, b, c in window], glass, None)
            back = [(x - half, belt, cabin), (x + half, belt, cabin)]
            self.fill([*back, (x + half * 0.8, roof, cabin + 0.3), (x - half * 0.8, roof, cabin + 0.3)], body, CAR)
            pane = [(x - half * 0.85, belt, cabin), (x + half * 0.85, belt, cabin)]
            pane += [(x + half * 0.7, roof - 0.12, cabin + 0.3), (x - half * 0.7, roof - 0.12, cabin + 0.3)]
            self.fill(pane, glass, None)
            for wheel in (z + length * 0.2, z + length * 0.8):
                self.ellipse((flank, 0.3, wheel), (0.22, 0.32), tyre, CAR)
            self.fill(self.facing(x, z, 0.22, belt, half), body, CAR)
            self.fill(self.facing(x, z, 0.22, 0.42, half), tyre, None)
            for side in (-1, 1):
                self.fill(self.facing(x + side * half * 0.75, z, 0, 0.3, 0.13), tyre, CAR)
                self.fill(self.facing(x + side * half * 0.78, z, 0.6, 0.78, 0.17), lamp, None)
            self.fill(self.facing(x, z, 0.5, 0.62, 0.25), np.array([235.0, 235, 220]), None)

        return draw

    def _people(self) -> list[tuple[float, Callable[[], None]]]:
        rng, things = self.rng, []
        for _ in range(rng.integers(3, 11)):
            side = -1 if rng.random() < 0.5 else 1
            edge, front = self.street.edges(side)
            z = rng.uniform(3, 12)
            x = edge + (front - edge) * rng.random()
            if rng.random() < 0.2:
                x = rng.uniform(self.street.left, self.street.right)
            for step in range(2 if rng.random() < 0.3 else 1):
                things.append((z, self._person(x + step * 0.6, z)))
        return things

    def _person(self, x: float, z: float) -> Callable[[], None]:
        rng = self.rng
        tall, stride = rng.uniform(1.45, 1.95), rng.uniform(0.02, 0.22)
        coat, legs = rng.uniform(20, 225, 3), rng.uniform(20, 130, 3)
        skin = np.array([225.0, 180, 150]) * rng.uniform(0.35, 1.05)
        hair = rng.uniform(15, 120) * np.array([1.0, 0.8, 0.6])

        def draw() -> None:
            self.shadow(x, z, 0.35, 0.3)
            hip, neck = tall * 0.5, tall * 0.83
            for foot in (x - stride, x + stride):
                lower = [(foot - 0.08, 0, z), (foot + 0.08, 0, z), (x + 0.14, hip, z), (x - 0.14, hip, z)]
                self.fill(lower, legs, PERSON)
            self.fill([(x - 0.2, hip, z), (x + 0.2, hip, z), (x + 0.24, neck, z), (x - 0.24, neck, z)], coat, PERSON)
            for arm in (-1, 1):
                start, stop = x + arm * 0.22, x + arm * (0.28 + stride * 0.5)
                sleeve = [(start, neck, z), (start + arm * 0.09, neck, z)]
                self.fill([*sleeve, (stop + arm * 0.08, hip, z), (stop, hip, z)], coat * 0.85, PERSON)
            self.ellipse((x, tall * 0.93, z), (0.115, 0.15), hair, PERSON)
            self.ellipse((x, tall * 0.91, z - 0.01), (0.085, 0.1), skin, PERSON)

        return draw

    def _poles(self) -> list[tuple[float, Callable[[], None]]]:
        rng, things = self.rng, []
        for side in (-1, 1):
            edge = self.street.edges(side)[0]
            for z in np.arange(rng.uniform(4, 8), 18, rng.uniform(4, 9)):
                if rng.random() < 0.7:
                    things.append((z, self._pole(side, edge + side * rng.uniform(0.35, 0.6), z)))
        return things

    def _pole(self, side: int, x: float, z: float) -> Callable[[], None]:
        rng = self.rng
        kind = rng.integers(3)
        metal = _grey(rng, 50, 150)
        tall, half = rng.uniform(2.6, 4.2) + 2.5 * (kind == 0), rng.uniform(0.13, 0.22)
        sign = (np.array([205.0, 30, 35]), np.array([30.0, 70, 190]), np.array([240.0, 205, 40]))[rng.integers(3)]

        def draw() -> None:
            self.fill(self.facing(x, z, 0, tall, half), metal, POLE)
            if kind == 0:  # a street lamp reaches over the road
                arm = [(x, tall, z), (x - side * 1.4, tall, z), (x - side * 1.4, tall - 0.22, z), (x, tall - 0.16, z)]
                self.fill(arm, metal, POLE)
            elif kind == 1:
                self.ellipse((x, tall, z), (0.5, 0.5), sign, POLE)
                self.fill(self.facing(x, z, tall - 0.12, tall + 0.12, 0.34), _grey(rng, 235, 250), None)
            else:  # traffic lights
                self.fill(self.facing(x, z, tall - 0.55, tall + 0.55, 0.24), _grey(rng, 20, 45), POLE)
                lit = rng.integers(3)
                for index, light in enumerate(([235.0, 30, 30], [245.0, 190, 40], [40.0, 220, 90])):
                    color = np.array(light) * (1.0 if index == lit else 0.3)
                    self.ellipse((x, tall + 0.33 - 0.33 * index, z), (0.13, 0.13), color, None)

        return draw

    # -- finish ------------------------------------------------------------------------------------------------------

    def _textures(self) -> None:
        """Every kind of surface gets grain of its own coarseness, so that flat colour alone does not tell it."""
        rng, shape = self.rng, (self.height, self.width)
        coarse, fine = _fractal(rng, *shape, (8, 20, 45)) - 0.5, _fractal(rng, *shape, (60, 120)) - 0.5
        strength = np.array([4, 20, 14, 18, 55, 10, 12, 8], np.float32)
        strength *= rng.uniform(0.6, 1.4, len(CLASSES))
        amount = strength[self.label]
        self.image += ((coarse * 1.2 + fine * 1.6) * amount)[..., None]

    def _bonnet(self) -> None:
        """The camera's own car at the bottom edge, which no class describes."""
        rng = self.rng
        center = (int(self.center), int(self.height * rng.uniform(1.06, 1.14)))
        axes = (int(self.width * rng.uniform(0.4, 0.6)), int(self.height * 0.17))
        cv2.ellipse(self.image, center, axes, 0, 0, 360, (_car_paint(rng) * 0.8).tolist(), -1)
        cv2.ellipse(self.label, center, axes, 0, 0, 360, IGNORE, -1)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light and lens: uneven light over the image, colour cast, exposure, vignette and a little blur."""
    height, width = image.shape[:2]
    light = 1 + 0.5 * (_fractal(rng, height, width, (2, 4)) - 0.5)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light *= 1 - rng.uniform(0, 0.2) * (x**2 + y**2)
    cast = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.6, 1.15)
    image = np.clip(image, 0, 255) * (light[..., None] * cast)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3)).astype(np.float64)


def _fractal(rng: np.random.Generator, height: int, width: int, cells: tuple[int, ...]) -> np.ndarray:
    """Smooth noise (height, width) in 0..1 with about that many bumps across, coarser ones stronger."""
    total = np.zeros((height, width))
    for octave, count in enumerate(cells):
        grid = rng.random((max(2, count * height // width), count))
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total / sum(1 / 2**octave for octave in range(len(cells)))


def _grey(rng: np.random.Generator, low: float, high: float) -> Color:
    return np.full(3, rng.uniform(low, high))


def _car_paint(rng: np.random.Generator) -> Color:
    """White, silver and black are the most frequent; the rest is any colour."""
    return _grey(rng, 25, 240) if rng.random() < 0.5 else rng.uniform(15, 215, 3)
