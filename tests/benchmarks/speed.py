"""Images per second of ``ganctl train`` against the textbook script: ``python tests/benchmarks/speed.py IMAGES.zip``.

The two take turns, each in a process of its own, on the same images (which ganctl has packed before, as all runs but
the first find them). The rate is that of the whole loop: of ganctl with its samples, checkpoints, averaged weights,
health and display; of the textbook with its data loader. Imports are left out of it, and shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ganctl.precision import processor

HERE = Path(__file__).parent
GANCTL = Path(sys.executable).with_name("ganctl")


class Setting(NamedTuple):
    """A size of network, and how many steps of it take about half a minute."""

    size: int
    filters: int
    batch: int
    steps: int


SETTINGS = {"64": Setting(64, 64, 64, 50), "32": Setting(32, 64, 128, 120), "small": Setting(32, 16, 16, 1200)}
PRECISIONS = ("auto", "fp32")


class Took(NamedTuple):
    """One run."""

    rate: float
    """Images per second of the loop."""
    beside: float
    """Seconds of the process outside the loop."""
    precision: str = "fp32"


def folder_of(images: Path, folder: Path) -> Path:
    """Unpack the zip *images* into *folder*, and return the one in that which holds the classes."""
    with zipfile.ZipFile(images) as packed:
        packed.extractall(folder)
    while len(inside := [*folder.iterdir()]) == 1:
        folder = inside[0]
    return folder


def textbook(folder: Path, at: Setting) -> Took:
    begun = time.perf_counter()
    options = [f"--{name}={value}" for name, value in at._asdict().items()]
    script = [sys.executable, str(HERE / "textbook.py"), str(folder), *options]
    said = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    told = json.loads(said)
    return Took(told["images"] / told["seconds"], time.perf_counter() - begun - told["seconds"])


def ganctl(images: Path, at: Setting, precision: str, steps: int) -> Took:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        settings = [f"arch.width={at.filters}", f"train.steps={steps}"]
        command: list[str | Path] = [
            GANCTL,
            "train",
            "--data",
            images,
            "--arch",
            "dcgan",
            "--loss",
            "bce",
            "--out",
            run,
        ]
        command += ["--size", str(at.size), "--batch-size", str(at.batch), "--precision", precision]
        begun = time.perf_counter()
        subprocess.run([*command, *(part for s in settings for part in ("--set", s))], check=True, capture_output=True)
        took = time.perf_counter() - begun
        row = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        chosen = next(line for line in (run / "config.toml").read_text().splitlines() if line.startswith("precision"))
    return Took(row["images"] / row["seconds"], took - row["seconds"], chosen.split('"')[1])


def main(images: Path, settings: list[str], rounds: int) -> None:
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(
        f"{date.today()}, {processor()}, {os.cpu_count()} cores, {threads} threads, Python {platform.python_version()}"
    )
    print(f"torch {version('torch')}, torchvision {version('torchvision')}, median of {rounds} rounds")
    print(f"{'':26}{'images/s':>10}{'ratio':>8}{'(least, most)':>16}{'beside the loop':>18}")
    with tempfile.TemporaryDirectory() as unpacked:
        folder = folder_of(images, Path(unpacked))
        for name in settings:
            at = SETTINGS[name]
            for precision in PRECISIONS:
                ganctl(images, at, precision, 1)  # packs, and tries the precisions
            took: dict[str, list[Took]] = {}
            for _ in range(rounds):
                took.setdefault("textbook", []).append(textbook(folder, at))
                for precision in PRECISIONS:
                    took.setdefault(precision, []).append(ganctl(images, at, precision, at.steps))
            print(f"{at.size} px, {at.filters} filters, batch {at.batch}")
            for side, runs in took.items():
                ratios = [one.rate / other.rate for one, other in zip(runs, took["textbook"], strict=True)]
                label = side if side == "textbook" else f"ganctl, {side} ({runs[0].precision})"
                print(
                    f"  {label:24}{median(run.rate for run in runs):10.1f}{median(ratios):8.2f}"
                    f"{min(ratios):9.2f}{max(ratios):7.2f}{median(run.beside for run in runs):16.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
