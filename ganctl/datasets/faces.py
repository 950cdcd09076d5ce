"""The built-in data set: cartoon faces, drawn with Pillow, labelled by hair colour."""

from __future__ import annotations

import cmath
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from ganctl.api import Dataset, Description, Record

DRAWING = 1
"""The version of the drawings. Raise it with every visible change, so that ganctl packs them again."""

Colour: TypeAlias = tuple[int, int, int]
Path: TypeAlias = NDArray[np.complex128]
"""The points x + iy of an outline. y grows downwards; the head is about 1 wide and high, with its middle at 0."""
T = TypeVar("T")


# -------------------------------------------------------------------------------------------------------- the palette
def _colours(text: str) -> tuple[Colour, ...]:
    return tuple((c[0], c[1], c[2]) for c in map(bytes.fromhex, text.split()))


HAIR: Mapping[str, Colour] = MappingProxyType(
    dict(
        zip(
            ("black", "brown", "auburn", "blond", "silver", "pink", "blue", "green"),
            _colours("2e2836 70422c be4a28 f6c854 b0b8c8 f47aa8 4c7ce0 48aa7a"),
            strict=True,
        )
    )
)
"""The classes, in the order of their labels."""
SKIN = _colours("ffe0cc f8ccac e4aa82 c0825c 925e44")
IRIS = _colours("623e2c 3c78be 469260 966832 685ca8")
PAPER = _colours("ffd6d9 cce2fa ceeedb ffeabe e0d4f8 ffdcc4")
ACCENT = _colours("ef6c62 42548c 2e9696 f7ba48 926aba")
CLOTHES = (*ACCENT, (250, 246, 240))
INK, PLUM, LIP, ROSE, GOLD, WHITE = _colours("3a2834 6e3250 963a3e f46870 facc5c ffffff")

STYLES = ("short", "bob", "long", "curls", "bun", "spiky", "pigtails")
MOUTHS = ("smile", "smile", "open", "open", "small", "neutral", "smirk")  # what is listed twice is twice as frequent
ACCESSORIES = ("none",) * 6 + ("glasses",) * 2 + ("beanie", "headband", "earrings")
BACKDROPS = ("plain", "gradient", "circle")
NECKLINES = ("crew", "v", "roll")


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Return the colour that lies *t* of the way from *a* to *b*."""
    return round(a[0] + (b[0] - a[0]) * t), round(a[1] + (b[1] - a[1]) * t), round(a[2] + (b[2] - a[2]) * t)


# -------------------------------------------------------------------------------------------------------- the factors
@dataclass(frozen=True)
class Face:
    """All that varies from face to face. Every factor is drawn independently of the others."""

    label: int
    hair: Colour
    style: str
    side: int
    """-1 mirrors the hair."""
    skin: Colour
    width: float
    slim: float
    """From a round chin, 0, to a narrow one, 1."""
    iris: Colour
    eye_size: float
    eye_gap: float
    brow: float
    mouth: str
    blush: float
    freckles: bool
    accessory: str
    accent: Colour
    """The accessory's colour, and that of the ties of pigtails."""
    clothes: Colour
    neckline: str
    backdrop: str
    paper: Colour
    """The backdrop's colour."""
    turn: float
    """Where the face looks, from -1, left, to 1, right."""
    shift: complex
    tilt: float
    scale: float

    @classmethod
    def draw_from(cls, rng: np.random.Generator, label: int) -> Face:
        """Sample the factors of a face whose hair has the colour of *label*."""
        # One call for all the numbers: quick, and a generator's raw doubles are what NumPy changes least.
        numbers = iter(rng.random(32).tolist())

        def pick(choices: Sequence[T]) -> T:
            return choices[int(next(numbers) * len(choices))]

        def between(low: float, high: float) -> float:
            return low + (high - low) * float(next(numbers))

        tone = between(0, len(SKIN) - 1)
        return cls(
            label=label,
            hair=mix(tuple(HAIR.values())[label], pick((INK, WHITE)), between(0, 0.06)),
            style=pick(STYLES),
            side=pick((-1, 1)),
            skin=mix(SKIN[int(tone)], SKIN[int(tone) + 1], tone % 1),
            width=between(0.94, 1.06),
            slim=between(0, 1),
            iris=pick(IRIS),
            eye_size=between(0.9, 1.12),
            eye_gap=between(0.195, 0.23),
            brow=between(-1, 1),
            mouth=pick(MOUTHS),
            blush=between(0.1, 1),
            freckles=between(0, 1) < 0.2,
            accessory=pick(ACCESSORIES),
            accent=pick(ACCENT),
            clothes=pick(CLOTHES),
            neckline=pick(NECKLINES),
            backdrop=pick(BACKDROPS),
            paper=pick(PAPER),
            turn=between(-1, 1),
            shift=complex(between(-0.08, 0.08), between(-0.05, 0.08)),
            tilt=math.radians(between(-6, 6)),
            scale=between(0.95, 1.05),
        )


# -------------------------------------------------------------------------------------------------------- the outlines
def outline(points: str, *, mirror: bool = False) -> Path:
    """Return a smooth line (a Catmull-Rom spline) through points "x,y x,y x,y", with a corner at each "|".

    An end on the middle line, x = 0, is level. With *mirror* the line is the right half of a symmetric outline.
    """
    t = np.linspace(0, 1, 5, endpoint=False)
    line: list[Path] = []
    last: list[complex] = []
    for run in points.split("|"):
        p = [*last, *(complex(*map(float, point.split(","))) for point in run.split())]
        last = p[-1:]
        if len(p) > 1:
            p.insert(0, -p[1].conjugate() if p[0].real == 0 else 2 * p[0] - p[1])
            p.append(-p[-2].conjugate() if p[-1].real == 0 else 2 * p[-1] - p[-2])
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
            line.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    half = np.array([*np.concatenate(line), *last])
    return np.append(half, -half[::-1].conj()) if mirror else half


def stroke(start: complex, bend: complex, end: complex, width: float) -> Path:
    """Return the outline of a line with round ends from *start* to *end*, pulled towards *bend*."""
    t = np.linspace(0, 1, 14)
    line = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    slope = (1 - t) * (bend - start) + t * (end - bend)
    side = 0.5j * width * np.sqrt(1 - (2 * t - 1) ** 4) * slope / np.abs(slope)
    return np.append(line + side, (line - side)[::-1])


def _spikes(points: str) -> Path:
    """Return an outline through valleys and tips in turn, its spikes all bent to one side."""
    p = np.array([complex(*map(float, point.split(","))) for point in points.split()])
    a, b, t = p[:-1, None], p[1:, None], np.linspace(0, 1, 5, endpoint=False)
    bend = (a + b) / 2 + 0.26j * (a - b) * (-1.0) ** np.arange(len(a))[:, None]
    line: Path = (1 - t) ** 2 * a + 2 * t * (1 - t) * bend + t**2 * b
    return line.ravel()


def _curls(bumps: int) -> Path:
    angle = 2 * math.pi * np.arange(bumps * 8) / (bumps * 8)
    afro: Path = 0.63 * (1 + 0.07 * np.abs(np.sin(angle * bumps / 2))) * np.exp(1j * angle) - 0.2j
    return afro


ROUND_HEAD = outline("0,-.5 .27,-.44 .44,-.2 .465,.08 .41,.32 .24,.48 0,.53", mirror=True)
SLIM_HEAD = outline("0,-.5 .27,-.44 .43,-.2 .445,.06 .37,.31 .18,.49 0,.56", mirror=True)
NECK = outline("0,.3 .15,.32 .145,.6 .19,.7 .12,.76 0,.79", mirror=True)
SHOULDERS = outline("0,.66 .16,.67 .46,.76 .66,.9 .74,1.1 .8,1.5", mirror=True)
ROLL = outline("0,.56 .15,.55 .2,.58 .22,.71 .17,.77 0,.79", mirror=True)
V_COLLAR = np.array([0.6j, 0.21 + 0.64j, 0.19 + 0.7j, 0.96j, -0.19 + 0.7j, -0.21 + 0.64j])
V_SKIN = np.array([0.6j, 0.16 + 0.62j, 0.14 + 0.69j, 0.9j, -0.14 + 0.69j, -0.16 + 0.62j])
BEANIE = outline("0,-.8 .24,-.77 .45,-.62 .53,-.36 | .3,-.4 0,-.42", mirror=True)
CUFF = outline("0,-.51 .3,-.49 .5,-.43 .57,-.37 .54,-.26 | .3,-.32 0,-.34", mirror=True)
HEADBAND = stroke(-0.52 - 0.2j, -0.76j, 0.52 - 0.2j, 0.1)
SHINE = stroke(-0.34 - 0.36j, -0.2 - 0.55j, 0.06 - 0.55j, 0.06)
BRIDGE = stroke(-0.1 + 0.09j, 0.05j, 0.1 + 0.09j, 0.04)
NOSE = stroke(-0.04 + 0.235j, 0.275j, 0.04 + 0.235j, 0.035)
LASH = stroke(-0.115 - 0.075j, -0.22j, 0.135 - 0.055j, 0.05)  # from the middle of the eye on the right
BROW = stroke(-0.1 + 0.01j, -0.05j, 0.11 + 0.01j, 0.045)
TEETH = outline("0,.355 .07,.352 .12,.342 | .1,.38 0,.395", mirror=True)
MOUTH: Mapping[str, Path] = MappingProxyType(
    {
        "smile": stroke(-0.14 + 0.355j, 0.5j, 0.14 + 0.355j, 0.05),
        "open": outline("0,.355 .07,.352 .14,.335 | .1,.43 0,.475", mirror=True),
        "small": stroke(-0.055 + 0.38j, 0.43j, 0.055 + 0.38j, 0.05),
        "neutral": stroke(-0.09 + 0.38j, 0.415j, 0.09 + 0.38j, 0.05),
        "smirk": stroke(-0.1 + 0.39j, 0.02 + 0.47j, 0.13 + 0.34j, 0.05),
    }
)


class Hair(NamedTuple):
    """A hair style: what is before the head, parted on the left, and what is behind it, how deep in shadow."""

    front: Path
    back: tuple[Path, ...] = ()
    shade: float = 0


_CAP = "-.5,-.18 -.43,-.43 -.22,-.61 .04,-.65 .3,-.57 .46,-.38 .51,-.15"
_SHORT = outline(f"-.47,.1 {_CAP} .47,.1 | .43,.08 .4,-.08 .36,-.19 | .1,-.2 -.1,-.26 -.27,-.38 | -.4,-.1 -.43,.08")
_BOB = outline(
    "0,-.66 .28,-.61 .48,-.4 .55,-.05 .58,.25 .56,.46 .46,.54 .37,.46 .41,.25 .41,.02 .35,-.16 |"
    ".24,-.19 .13,-.2 | .1,-.255 | .07,-.2 0,-.195",
    mirror=True,
)
_BOB_BACK = outline("0,-.6 .46,-.3 .5,.2 .44,.5 .2,.53 0,.53", mirror=True)
_LONG = outline(
    "0,-.64 .28,-.6 .49,-.36 .55,0 .57,.4 .6,.72 .54,.92 .45,.86 .41,.56 .43,.2 .4,-.06 .22,-.3 .01,-.44", mirror=True
)
_LONG_BACK = outline("0,-.6 .46,-.3 .54,.3 .54,.9 0,.95", mirror=True)
_CURLS = outline(
    f"-.5,.04 {_CAP} .5,.04 | .47,-.06 | .42,0 .34,-.02 .31,-.09 | .35,-.12 .27,-.14 .24,-.21 |"
    ".21,-.19 .13,-.21 .1,-.28 | .04,-.21 -.04,-.23 -.07,-.3 | -.13,-.19 -.21,-.21 -.24,-.28 |"
    "-.28,-.14 -.36,-.16 -.39,-.23 | -.4,-.12 -.45,-.02 -.5,.04"
)
_BUN = outline(f"-.47,.14 {_CAP} .47,.14 | .44,.12 .42,-.08 .3,-.24 0,-.31 -.3,-.24 -.42,-.08 -.44,.12")
_KNOT = outline("0,-.92 .136,-.866 .19,-.73 .136,-.594 0,-.54", mirror=True)
_SPIKY = _spikes(
    "-.46,.1 -.6,-.02 -.5,-.16 -.7,-.34 -.48,-.42 -.54,-.7 -.27,-.6 -.14,-.86 .04,-.64 .34,-.82 .31,-.56 "
    ".64,-.62 .48,-.36 .7,-.24 .51,-.1 .6,.02 .46,.1 .42,-.14 .33,-.07 .22,-.27 .1,-.1 0,-.29 -.14,-.1 "
    "-.22,-.27 -.35,-.07 -.43,-.14 -.46,.1"
)
_PIGTAILS = outline(
    "0,-.64 .28,-.6 .48,-.38 .52,-.1 .47,.1 | .42,-.06 .36,-.16 | .2,-.2 .06,-.32 .01,-.44", mirror=True
)
_TAIL = outline(".5,-.06 .62,-.17 .76,-.04 .8,.26 .7,.54 .6,.36 .56,.14 .5,-.06")
STYLE_HAIR: Mapping[str, Hair] = MappingProxyType(
    {
        "short": Hair(_SHORT),
        "bob": Hair(_BOB, (_BOB_BACK,), shade=0.25),
        "long": Hair(_LONG, (_LONG_BACK,), shade=0.25),
        "curls": Hair(_CURLS, (_curls(13),)),
        "bun": Hair(_BUN, (_KNOT,), shade=0.12),
        "spiky": Hair(_SPIKY),
        "pigtails": Hair(_PIGTAILS, (_TAIL, -_TAIL.conj()), shade=0.08),
    }
)


# -------------------------------------------------------------------------------------------------------- the drawing
class Pen:
    """Fills outlines, given in the coordinates of a part of the face, in a picture.

    Points are turned before they are drawn, which is quick and sharp at every size; to turn a picture is neither.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, turn: complex, shift: complex, stretch: float = 1) -> None:
        self._draw = draw
        # z -> direct * z + mirror * conjugate(z) + shift: stretched (a negative stretch mirrors), then turned and moved
        self._direct, self._mirror, self._shift = turn * (1 + stretch) / 2, turn * (stretch - 1) / 2, shift
        self._unit = abs(turn)

    def fill(self, path: Path, colour: Colour, at: complex = 0j, scale: float = 1) -> None:
        """Fill an outline, scaled, with its origin at *at*."""
        at = self._direct * at + self._mirror * at.conjugate() + self._shift
        points = self._direct * scale * path + (self._mirror * scale * path.conj() + at)
        self._draw.polygon(points.view(np.float64).tolist(), fill=colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse; it stays upright, which does not show in ones so nearly round, and is quick."""
        at = self._direct * complex(x, y) + self._mirror * complex(x, -y) + self._shift
        rx, ry = rx * self._unit, ry * self._unit
        self._draw.ellipse((at.real - rx, at.imag - ry, at.real + rx, at.imag + ry), fill=colour)


def draw_backdrop(face: Face, side: int) -> Image.Image:
    """Return the paper on which the face is drawn."""
    light = mix(face.paper, WHITE, 0.55)
    if face.backdrop == "gradient":
        column = Image.frombytes("RGB", (1, 2), bytes(light + face.paper)).resize((1, side), Image.Resampling.BILINEAR)
        return column.resize((side, side), Image.Resampling.NEAREST)
    image = Image.new("RGB", (side, side), face.paper)
    if face.backdrop == "circle":
        ImageDraw.Draw(image).ellipse((side * 0.08, side * 0.06, side * 0.92, side * 0.9), fill=light)
    return image


def _below_hat(path: Path, brim: float) -> Path:
    """Return hair pressed flat where the hat sits, whatever the style, so that none stands out above the brim."""
    y = np.maximum(path.imag, brim)
    widest = 0.52 + 2 * (y - brim)
    return np.clip(path.real, -widest, widest) + 1j * y


def draw_back_hair(face: Face, pen: Pen) -> None:
    """Draw the hair behind the head."""
    hair = STYLE_HAIR[face.style]
    for path in hair.back:
        pen.fill(_below_hat(path, -0.28) if face.accessory == "beanie" else path, mix(face.hair, PLUM, hair.shade))


def draw_front_hair(face: Face, pen: Pen) -> None:
    """Draw the hair before the head, its shadow on the forehead and its highlight."""
    path = STYLE_HAIR[face.style].front
    # The shadow is that of the fringe alone: none of it may fall beside the head.
    shadow = np.clip(0.93 * path.real, -0.4, 0.4) + 1j * np.clip(path.imag + 0.045, -0.4, 0.02)
    pen.fill(shadow, mix(face.skin, LIP, 0.2))
    pen.fill(_below_hat(path, -0.4) if face.accessory == "beanie" else path, face.hair)
    pen.fill(SHINE, mix(face.hair, WHITE, 0.38))
    if face.style == "pigtails":
        for x in (-0.53, 0.53):
            pen.oval(x, -0.06, 0.065, 0.075, face.accent)


def draw_body(face: Face, pen: Pen) -> None:
    """Draw the neck, the shoulders and what they wear."""
    skin, trim = mix(face.skin, LIP, 0.2), mix(face.clothes, INK, 0.2)
    pen.fill(SHOULDERS, face.clothes)
    if face.neckline == "crew":
        pen.oval(0, 0.68, 0.23, 0.14, trim)
    elif face.neckline == "v":
        pen.fill(V_COLLAR, trim)
        pen.fill(V_SKIN, skin)
    pen.fill(NECK, skin)
    if face.neckline == "roll":
        pen.fill(ROLL, mix(face.clothes, INK, 0.1))


def draw_head(face: Face, pen: Pen) -> None:
    """Draw the ears and the head."""
    for x in (-0.46, 0.46):
        pen.oval(x, 0.1, 0.085, 0.11, face.skin)
        pen.oval(x, 0.1, 0.045, 0.065, mix(face.skin, LIP, 0.2))
    pen.fill(ROUND_HEAD + (SLIM_HEAD - ROUND_HEAD) * face.slim, face.skin)


def draw_features(face: Face, pen: Pen) -> None:
    """Draw the cheeks, nose, mouth, glasses, which are behind the eyes, and eyes."""
    # A turn of the head moves the features, not the outline.
    shade, middle = mix(face.skin, LIP, 0.3), 0.025 * face.turn
    cheek, lens = mix(face.skin, ROSE, 0.45 * face.blush), mix(face.skin, WHITE, 0.4)
    for x in (middle - face.eye_gap - 0.035, middle + face.eye_gap + 0.035):
        pen.oval(x, 0.29, 0.085, 0.058, cheek)
        if face.freckles:
            for dx, y in ((-0.05, 0.265), (0, 0.295), (0.05, 0.265)):
                pen.oval(x + dx, y, 0.016, 0.016, shade)
    pen.fill(NOSE, shade, middle + 0j)
    pen.fill(MOUTH[face.mouth], LIP, middle + 0j)
    if face.mouth == "open":
        pen.fill(TEETH, WHITE, middle + 0j)
        pen.oval(middle, 0.445, 0.055, 0.024, ROSE)
    if face.accessory == "glasses":
        pen.fill(BRIDGE, face.accent, middle + 0j)
    for sign in (-1, 1):
        x = middle + sign * face.eye_gap
        if face.accessory == "glasses":
            pen.oval(x, 0.09, 0.185, 0.185, face.accent)
            pen.oval(x, 0.09, 0.15, 0.15, lens)
        draw_eye(face, pen, complex(x, 0.09), sign)


def draw_eye(face: Face, pen: Pen, at: complex, sign: int) -> None:
    """Draw an eye and its eyebrow; *sign* is -1 for the one on the left."""
    size, x, y = face.eye_size, at.real, at.imag
    look = x + 0.015 * face.turn - 0.008 * sign
    pen.oval(x, y, 0.12 * size, 0.135 * size, WHITE)
    pen.oval(look, y + 0.01, 0.096 * size, 0.114 * size, face.iris)
    pen.oval(look, y + 0.01, 0.052 * size, 0.066 * size, INK)
    pen.oval(look - 0.035, y - 0.035, 0.04 * size, 0.042 * size, WHITE)
    brow = BROW * cmath.rect(1, 0.16 * face.brow)
    lash, brow = (LASH, brow) if sign > 0 else (-LASH.conj(), -brow.conj())
    pen.fill(lash, INK, at, size)
    pen.fill(brow, mix(face.hair, PLUM, 0.45), at + complex(0.01 * sign, -0.145 * size - 0.075))


def draw_accessory(face: Face, pen: Pen) -> None:
    """Draw what is worn over the hair."""
    if face.accessory == "beanie":
        pen.oval(0, -0.81, 0.11, 0.11, mix(face.accent, WHITE, 0.55))
        pen.fill(BEANIE, face.accent)
        pen.fill(CUFF, mix(face.accent, WHITE, 0.3))
    elif face.accessory == "headband":
        pen.fill(HEADBAND, face.accent)
    elif face.accessory == "earrings":
        for x in (-0.49, 0.49):
            pen.oval(x, 0.27, 0.055, 0.055, GOLD)


def draw_face(face: Face, size: int) -> Image.Image:
    """Return the picture of a face, *size* pixels wide and high."""
    # Pillow's outlines are jagged: draw large, with four pixels or more a side for each that is wanted, and average.
    factor = max(1, min(max(4, -(-128 // size)), 2048 // size))
    side = size * factor
    image = draw_backdrop(face, side)
    draw = ImageDraw.Draw(image)
    unit = side / 2 * 1.08 * face.scale
    origin = side / 2 * (1 + 1.06j + face.shift)
    turn = cmath.rect(unit, face.tilt)
    on_neck = origin + (unit - turn) * 0.5j  # the point about which the head tilts
    head, hair = (Pen(draw, turn, on_neck, stretch) for stretch in (face.width, face.width * face.side))
    draw_back_hair(face, hair)
    draw_body(face, Pen(draw, complex(unit), origin))
    draw_head(face, head)
    draw_features(face, head)
    draw_front_hair(face, hair)
    draw_accessory(face, head)
    return image.reduce(factor)


class Faces(Dataset):
    """Cartoon faces that ganctl draws itself, labelled by hair colour."""

    api_version = 1
    # A demonstration that two CPU cores finish while one watches: a third of the faces, so that there are twelve sheets
    # to film, and a rate that suits so few steps.
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "data.size": 32,
            "data.limit": 4_000,
            "arch.width": 16,
            "train.steps": 3_000,
            "train.batch_size": 16,
        }
    )

    count: int = Field(default=12_000, ge=1, le=1_000_000, description="how many faces to draw")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="which faces: another seed draws others")

    def describe(self) -> Description:
        """Say how many faces there are, of which hair colours."""
        return Description(self.count, tuple(HAIR), channels=3)

    def records(self) -> Sequence[Record]:
        """List the faces, their hair colours in turn."""
        return [Record(f"face-{index:06d}", index % len(HAIR)) for index in range(self.count)]

    def face(self, index: int) -> Face:
        """Return the factors of a face, which depend on the seed and the index alone."""
        return Face.draw_from(np.random.default_rng([self.seed, index]), index % len(HAIR))

    def read(self, record: Record, size: int) -> Image.Image:
        """Draw a face."""
        return draw_face(self.face(int(record.name.removeprefix("face-"))), size)

    def fingerprint(self) -> str:
        """Return a text that changes with the options and with the drawings."""
        return hashlib.sha256(f"{super().fingerprint()} {DRAWING}".encode()).hexdigest()
