"""A picture as coloured characters: each upper half block is two pixels, its own colour above its background's."""

from __future__ import annotations

from PIL import Image

BLOCK = "▀"


def cells(picture: Image.Image, columns: int, rows: int) -> list[list[tuple[str, str]]]:
    """Return the colours ``#rrggbb`` of the upper and the lower half of each character, in lines.

    The picture is made as large as fits into *columns* and *rows* of characters, and no larger than it is.
    """
    scale = min(columns / picture.width, 2 * rows / picture.height, 1.0)
    width, height = (max(round(length * scale), 1) for length in picture.size)
    small = picture.convert("RGB").resize((width, height + height % 2), Image.Resampling.LANCZOS)
    colours = [
        f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in zip(*[iter(small.tobytes())] * 3, strict=True)
    ]
    lines = [colours[start : start + width] for start in range(0, len(colours), width)]
    return [list(zip(upper, lower, strict=True)) for upper, lower in zip(lines[::2], lines[1::2], strict=True)]
