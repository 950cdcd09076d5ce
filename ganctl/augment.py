"""What the discriminator sees in place of an image: shifted, recoloured, partly blanked, with noise.

Real images and fakes are changed alike and differentiably, so that the generator does not learn to draw the changes
(Zhao et al. 2020, arXiv:2006.10738). Noise that fades makes the two overlap while they still differ much (Soenderby et
al. 2017, arXiv:1610.04490).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganctl.config import AugmentSettings

Change = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> images of the same shape."""


class Augmentation:
    """The changes of one batch, drawn when it is first seen; whatever stands in the batch's place is changed alike."""

    def __init__(self, settings: AugmentSettings, progress: float) -> None:
        """*progress* is the share of the run that is over."""
        self._settings = settings
        self._noise = settings.noise * max(0.0, 1 - progress / settings.noise_until)
        self._changes: list[Change] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return *images* changed."""
        if self._changes is None:
            self._changes = self._draw(images)
        for change in self._changes:
            images = change(images)
        return images

    def _draw(self, images: Tensor) -> list[Change]:
        changes = []
        if self._settings.colour:
            changes.append(recolour(images, self._settings.colour))
        if self._settings.translation:
            changes.append(translate(images, self._settings.translation))
        if self._settings.cutout:
            changes.append(cut_out(images, self._settings.cutout))
        if self._noise:
            noise = self._noise * torch.randn_like(images)
            changes.append(lambda seen: seen + noise)
        return changes


def recolour(images: Tensor, strength: float) -> Change:
    """Draw for each image a brightness of +-0.5, a saturation of 1 +- 1 and a contrast of 1 +- 0.5, by *strength*."""
    brightness, saturation, contrast = strength * (images.new_empty(3, len(images), 1, 1, 1).uniform_() - 0.5)

    def change(seen: Tensor) -> Tensor:
        seen = seen + brightness
        seen = torch.lerp(seen.mean(1, keepdim=True), seen, 1 + 2 * saturation)
        return torch.lerp(seen.mean((1, 2, 3), keepdim=True), seen, 1 + contrast)

    return change


def translate(images: Tensor, share: float) -> Change:
    """Draw for each image a shift of up to *share* of its sides; what comes in from outside is mid-grey."""
    count, channels, height, width = images.shape
    rows, rows_inside = _shifted(count, height, share, images.device)
    columns, columns_inside = _shifted(count, width, share, images.device)
    rows, columns = rows[:, None, :, None], columns[:, None, None, :]
    inside = rows_inside[:, None, :, None] & columns_inside[:, None, None, :]

    def change(seen: Tensor) -> Tensor:
        seen = seen.gather(2, rows.expand(count, channels, height, width))
        return seen.gather(3, columns.expand(count, channels, height, width)) * inside

    return change


def _shifted(count: int, side: int, share: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return, for *count* shifts of a line of *side* pixels, where each pixel comes from and whether that is inside."""
    furthest = round(side * share)
    shifts = torch.randint(-furthest, furthest + 1, (count, 1), device=device)
    source = torch.arange(side, device=device) - shifts
    return source.clamp(0, side - 1), (source >= 0) & (source < side)


def cut_out(images: Tensor, share: float) -> Change:
    """Draw for each image the centre of a square, *share* of the image's side, which becomes mid-grey."""
    count, _, height, width = images.shape
    hidden = (
        _near(count, height, share, images.device)[:, None, :, None]
        & (_near(count, width, share, images.device)[:, None, None, :])
    )
    return lambda seen: seen * ~hidden


def _near(count: int, side: int, share: float, device: torch.device) -> Tensor:
    """Return, for *count* centres on a line of *side* pixels, which pixels are within half of *share* of it."""
    centres = torch.rand(count, 1, device=device) * side
    return (torch.arange(side, device=device) + 0.5 - centres).abs() < side * share / 2
