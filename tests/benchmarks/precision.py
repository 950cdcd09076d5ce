"""Whether bfloat16 learns as well as float32: ``python tests/benchmarks/precision.py IMAGES.zip``. Half an hour.

Trains the same networks (32 px, 32 filters, batch 64) with both precisions from three seeds, for as many steps, and
prints what each evaluation found: fd-efflite0 of 2,000 fakes against 10,000 real images.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

SEEDS, STEPS, REALS, FAKES = (0, 1, 2), 3000, 10_000, 2_000
SETTINGS = ["--size", "32", "--batch-size", "64", "--set", "arch.width=32", "--set", f"train.steps={STEPS}",
            "--eval-every", "1", "--set", f"metric.reals={REALS}", "--set", f"metric.images={FAKES}"]  # fmt: skip


def distances(images: Path, precision: str, seed: int, run: Path) -> list[float]:
    """Train, and return what each evaluation found."""
    command = [sys.executable, "-m", "ganctl", "train", "--data", str(images), "--out", str(run), "--quiet"]
    subprocess.run([*command, *SETTINGS, "--precision", precision, "--seed", str(seed)], check=True)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["value"] for row in rows if row["kind"] == "metric" and row["name"] == "fd-efflite0"]


def main(images: Path) -> None:
    last: dict[str, list[float]] = {"fp32": [], "bf16": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for precision, found in last.items():
                seen = distances(images.resolve(), precision, seed, Path(folder, f"{precision}-{seed}"))
                found.append(seen[-1])
                print(f"{precision} seed {seed}: {', '.join(f'{value:.1f}' for value in seen)}", flush=True)
    for precision, found in last.items():
        print(f"{precision} after {STEPS} steps: {mean(found):.1f}, standard deviation {stdev(found):.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
