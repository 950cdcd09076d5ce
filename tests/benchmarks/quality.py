"""How good the images are after equal time: ``python tests/benchmarks/quality.py IMAGES.zip [--minutes 15]``.

Trains the textbook script, then ganctl as it comes, each alone on the machine for so many minutes, on the same images
at 32 px with 64 filters and batch 128. The generators that both had every half minute are then judged by
``fd-efflite0``: 2,000 fakes, ganctl's of averaged weights, which is what it exports.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from speed import GANCTL, HERE, SETTINGS, folder_of
from textbook import generator
from torch import Tensor, nn

from ganctl import checkpoint, weights
from ganctl.assemble import load_data
from ganctl.evaluation import Judge
from ganctl.resolve import Layer, read_recipe, resolve
from ganctl.run import Run

AT = SETTINGS["32"]


class Textbook(nn.Module):
    """The script's generator, to be drawn from as from any: latents (N, Z) -> images (N, 3, H, W)."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.layers = generator(AT.size, AT.filters)
        self.layers.load_state_dict(torch.load(file, weights_only=True))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(latents[:, :, None, None])


def textbooks(images: Path, minutes: float, folder: Path, seed: int) -> Iterator[tuple[float, nn.Module]]:
    """Train the script; yield the seconds after which it kept a generator, and that."""
    options = [f"--{name}={value}" for name, value in AT._asdict().items() if name != "steps"]
    script = [sys.executable, HERE / "textbook.py", images, *options, f"--minutes={minutes}", f"--seed={seed}"]
    subprocess.run([*script, "--keep", folder], check=True, capture_output=True)
    for file in sorted(folder.glob("*.pt")):
        yield float(file.stem), Textbook(file)


def ganctls(images: Path, minutes: float, run: Run, seed: int) -> Iterator[tuple[float, nn.Module]]:
    """Train ganctl; yield the seconds after which it kept a generator, and that."""
    keys = {"arch.width": AT.filters, "train.checkpoint_minutes": 0.5, "train.keep": 1000, "train.epochs": 1000}
    command = [GANCTL, "train", "--data", images, "--size", AT.size, "--batch-size", AT.batch, "--seed", seed]
    command += ["--out", run.path, "--quiet", *(part for k, v in keys.items() for part in ("--set", f"{k}={v}"))]
    process = subprocess.Popen([str(part) for part in command])
    with suppress(subprocess.TimeoutExpired):
        process.wait(
            60 * minutes + 15
        )  # what it does before the first step is not counted, and what comes late neither
    process.send_signal(signal.SIGTERM)
    process.wait()
    for file in run.saved():
        _, values = weights.read(file, checkpoint.KEY)
        if values["seconds"] <= 60 * minutes:
            exported = file.with_suffix(".exported")
            checkpoint.export(file, None, exported)
            yield values["seconds"], weights.load(exported).network


def main(images: Path, minutes: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as unpacked, tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder, "run"))
        subprocess.run(  # packs, and tries the precisions
            [GANCTL, "train", "--data", images, "--size", str(AT.size), "--set", "train.steps=1", "--out", run.path],
            check=True, capture_output=True,
        )  # fmt: skip
        settings = resolve(recipe=Layer(read_recipe(run.config).values))
        judge = Judge(settings, load_data(settings, lambda *_: None), torch.device("cpu"), lambda *_: None)
        run = Run(Path(folder, "timed"))
        sides = {
            "textbook": textbooks(folder_of(images, Path(unpacked)), minutes, Path(folder), seed),
            "ganctl": ganctls(images, minutes, run, seed),
        }
        for side, kept in sides.items():
            print(
                f"{side}: {' '.join(f'{s / 60:.1f}:{judge.scores(net)[0].value:.0f}' for s, net in kept)}", flush=True
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
