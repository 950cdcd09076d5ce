"""Whether a long training grows: ``python tests/benchmarks/soak.py [--minutes 60]``.

Trains on tiny faces, with a checkpoint, a sheet, an evaluation and an export every few seconds, and looks twenty times
at the process: open descriptors, threads, memory of its own (Linux only), and milliseconds a step since the last look,
by the clock and of the processor, which other programs do not change.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

LOOKS = 20
SETTINGS = {
    "data.size": 16, "data.count": 512, "arch.width": 8, "train.batch_size": 16, "train.epochs": 10**6,
    "train.sample_every": 50, "train.checkpoint_every": 50, "train.eval_every": 50, "metric.images": 256,
    "metric.reals": 256, "train.log_every": 400,
}  # fmt: skip


def own_memory(process: int) -> float:
    """Return the MB that no other process shares."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def processor(process: int) -> float:
    """Return the seconds of processors that the process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, "-m", "ganctl", "train", "--out", str(run), "--quiet"]
        process = subprocess.Popen([*command, *(f"--set={key}={value}" for key, value in SETTINGS.items())])
        print(
            f"{'minute':>8}{'step':>10}{'ms a step':>11}{'of CPU':>8}{'descriptors':>13}{'threads':>9}{'MB':>8}"
            f"{'files':>7}{'folder MB':>11}"
        )
        last, taken = {"step": 0, "seconds": 0.0}, 0.0
        for look in range(1, LOOKS + 1):
            with suppress(subprocess.TimeoutExpired):
                raise SystemExit(f"it ended: {process.wait(60 * minutes / LOOKS)}")
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()[:-1]]
            row = [row for row in rows if row["kind"] == "step"][-1]
            steps, before = max(row["step"] - last["step"], 1), taken
            taken = processor(process.pid)
            pace, cost = 1000 * (row["seconds"] - last["seconds"]) / steps, 1000 * (taken - before) / steps
            at, last = Path(f"/proc/{process.pid}"), row
            counts = len([*(at / "fd").iterdir()]), len([*(at / "task").iterdir()])
            files = [path for path in run.rglob("*") if path.is_file() and path.parent.name != "samples"]
            size = sum(path.stat().st_size for path in files if path.name != "metrics.jsonl") / 2**20
            print(
                f"{look * minutes / LOOKS:8.1f}{row['step']:10}{pace:11.2f}{cost:8.2f}{counts[0]:13}{counts[1]:9}"
                f"{own_memory(process.pid):8.0f}{len(files):7}{size:11.1f}",
                flush=True,
            )
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    main(**vars(parser.parse_args()))
