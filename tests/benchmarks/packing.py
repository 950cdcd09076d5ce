"""How fast images are packed: ``python tests/benchmarks/packing.py IMAGES.zip``.

The first 3,000 images, enlarged to photographs of 256 px, as JPEG and as PNG, to 64 px: torchvision's ImageFolder with
the usual transforms in one process, and packing with one process and with one per core. They take turns, three times.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ganctl.data.decode import Target
from ganctl.data.pack import pack
from ganctl.data.parallel import cores
from ganctl.datasets.folder import Folder

COUNT, SIDE, SIZE, ROUNDS = 3000, 256, 64, 3


def photographs(images: Path, folder: Path, suffix: str) -> None:
    """Write the first images of the zip into *folder*, enlarged."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(images) as source:
        names = [name for name in source.namelist() if name.lower().endswith((".jpg", ".png"))][:COUNT]
        for number, name in enumerate(names):
            image = Image.open(io.BytesIO(source.read(name))).convert("RGB")
            image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number:05}.{suffix}", quality=90)


def rate(work: Callable[[Path], int], folder: Path) -> float:
    """Return how many images of *folder* a second *work* does, which returns how many it did."""
    begun = time.perf_counter()
    return work(folder) / (time.perf_counter() - begun)


def textbook(folder: Path) -> int:
    normalise = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    prepare = [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor(), normalise]
    return sum(1 for _ in ImageFolder(str(folder), transforms.Compose(prepare)))


def packing(folder: Path, workers: int) -> int:
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GANCTL_CACHE"] = cache
        return len(pack(Folder(path=str(folder)), "folder", Target(SIZE, 3), workers=workers).images)


def main(images: Path) -> None:
    torch.set_num_threads(1)
    sides: dict[str, Callable[[Path], int]] = {
        "ImageFolder": textbook,
        "packing, one process": lambda folder: packing(folder, 1),
        f"packing, {cores()} processes": lambda folder: packing(folder, cores()),
    }
    with tempfile.TemporaryDirectory() as top:
        for suffix in ("jpg", "png"):
            photographs(images, Path(top, suffix, "all"), suffix)
            rates: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(ROUNDS):
                for side, work in sides.items():
                    rates[side].append(rate(work, Path(top, suffix)))
            for side, seen in rates.items():
                print(f"{suffix} {side:24}{median(seen):8.0f} images/s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
