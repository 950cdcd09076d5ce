"""How long commands take: ``python tests/benchmarks/commands.py IMAGES.zip``. Medians of five, after one to warm up.

Light commands beside a bare Python; from Enter to the first step on packed images beside ``import torch``; a walk
beside the bare generator (64 px, 64 filters; the difference of a long walk and a short one, so that starting does not
count); and a film of a thousand sheets of 8x8 images of 64 px, which are the zip's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from PIL import Image

SHEETS, ROUNDS, SHORT, LONG, FPS, PATHS = 1000, 5, 2, 14, 24, 16
LIGHT = {
    "--help": ["--help"],
    "plugins": ["plugins"],
    "show dcgan": ["show", "dcgan"],
    "compare": ["compare", "run"],
    "usage error": ["train", "--arhc", "dcgan"],
}
NETWORK = [
    "--size",
    "64",
    "--set",
    "arch.width=64",
    "--epochs",
    "1",
    "--set",
    "train.steps=2",
    "--set",
    "data.limit=256",
]

BARE = """
import sys, time, torch
from pathlib import Path
from ganctl import sampling, weights
trained = weights.load(Path(sys.argv[1]))
network, points = trained.network.eval(), sampling.latents(0, 16, trained.architecture.latent_dim)
with torch.inference_mode():
    for count in (20, 300):
        begun = time.perf_counter()
        for _ in range(count):
            network(points, None)
print(count * len(points) / (time.perf_counter() - begun))
"""
"""The generator on batches as large as a walk's, as it was loaded, with nothing round it."""


def seconds(command: Sequence[str], folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def typical(command: Sequence[str], folder: Path, rounds: int = ROUNDS) -> float:
    seconds(command, folder)
    return median(seconds(command, folder) for _ in range(rounds))


def first_step(command: Sequence[str], folder: Path) -> float:
    """Return the seconds from starting *command*, a training into ``first``, until it logged its first step."""
    shutil.rmtree(folder / "first", ignore_errors=True)
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    log = folder / "first" / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
    taken = time.perf_counter() - begun
    process.wait()
    return taken


def main(images: Path) -> None:
    python, images = sys.executable, images.resolve()
    ganctl = [str(Path(python).with_name("ganctl"))]
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        os.environ["GANCTL_CACHE"] = str(folder / "cache")
        train = [*ganctl, "train", "--data", str(images), *NETWORK]
        subprocess.run([*train, "--out", "run", "--quiet"], cwd=folder, check=True)

        bare = typical([python, "-c", "pass"], folder)
        print(f"{'a bare Python':34}{bare:8.3f} s")
        for name, arguments in LIGHT.items():
            taken = typical([*ganctl, *arguments], folder)
            print(f"{name:34}{taken:8.3f} s, {taken - bare:.3f} s more", flush=True)

        imported = typical([python, "-c", "import torch"], folder, 3)
        begin = [*train, "--set", "train.log_every=1", "--out", "first", "--quiet"]
        begun = median(first_step(begin, folder) for _ in range(3))
        print(f"{'import torch':34}{imported:8.2f} s")
        print(f"{'train, to its first step':34}{begun:8.2f} s, {begun - imported:.2f} s more", flush=True)

        rates = []
        for _ in range(3):
            answer = subprocess.run(
                [python, "-c", BARE, "run/generator.safetensors"],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            rates.append(float(answer.stdout))
        walks = [typical([*ganctl, "walk", "run", "--seconds", str(length)], folder, 3) for length in (SHORT, LONG)]
        walk, generator = (LONG - SHORT) * FPS * PATHS / (walks[1] - walks[0]), median(rates)
        print(f"{'the bare generator':34}{generator:8.0f} images/s")
        print(f"{'walk':34}{walk:8.0f} images/s, {walk / generator:.0%}", flush=True)

        film(folder, ganctl, images)


def film(folder: Path, ganctl: Sequence[str], images: Path) -> None:
    """Fill the run with sheets of real images, and film them."""
    from ganctl.data.decode import Target
    from ganctl.data.pack import pack
    from ganctl.datasets.folder import Folder
    from ganctl.sampling import grid

    pixels = pack(Folder(path=str(images)), "folder", Target(64, 3)).images
    for sheet in range(SHEETS):
        # Every image is another than in the sheet before: no training changes as much.
        Image.fromarray(grid(pixels[sheet : sheet + 64])).save(folder / "run" / "samples" / f"epoch-{sheet:04}.png")
    taken = typical([*ganctl, "video", "run", "-o", "film.mp4", "--hold", "1"], folder, 3)
    megabytes = (folder / "film.mp4").stat().st_size / 2**20
    print(f"{f'a film of {SHEETS} sheets':34}{taken:8.2f} s, {megabytes:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
