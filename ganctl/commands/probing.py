"""Show what a discriminator's features tell."""

from __future__ import annotations

import json
from typing import Any

from ganctl.display import Display
from ganctl.errors import plain
from ganctl.probe import NEIGHBOURS, Accuracy, Probe, Split
from ganctl.probe import probe as run_probe
from ganctl.run import Run


def probe(run: Run, layer: str | None, count: int, source: str | None, seed: int, shown: Display) -> str:
    """Probe the newest discriminator of *run*, show the table, and return it as JSON."""
    found = run_probe(run, layer=layer, count=count, source=source, seed=seed, progress=shown.progress)
    _show(run, found, seed, shown)
    return json.dumps(_plain_data(run, found, seed), indent=2)


def _show(run: Run, found: Probe, seed: int, shown: Display) -> None:
    reals = len(found.real_fake.labels) // 2
    fakes = "averaged" if found.averaged else "last"
    shown.note(f"the discriminator of {run} at step {found.step}: held-out accuracy", "bold")
    header = ["\nfeatures", "\nnumbers"]
    header += [f"{len(found.names)} classes\nlinear", "\nKNN"] if found.classes else []
    header += ["real or fake\nlinear", "\nKNN"]
    rows = [[row.features, str(row.numbers), *_cells(row.classes), *_cells(row.real_fake)] for row in found.rows]
    chances = [split.chance for split in (found.classes, found.real_fake) if split]
    rows.append(["chance", "", *(f"{chance:.1%}" for chance in chances for _ in range(2))])
    shown.table(rows, header)
    shown.note()
    shown.note(f"{reals} real images of {plain(found.source)}, {reals} fakes of the {fakes} weights; seed {seed}")
    for what, split in (("classes", found.classes), ("real or fake", found.real_fake)):
        if split:
            shown.note(
                f"{what}: learnt from {len(split.train)} images, tested on {len(split.test)}, "
                f"so an accuracy is known to ±{_error(split):.1f} points"
            )
    shown.note(f"linear: logistic regression; KNN: the {NEIGHBOURS} nearest")
    for note in found.notes:
        shown.note(note)


def _cells(accuracy: Accuracy | None) -> list[str]:
    return [f"{value:.1%}" for value in accuracy or ()]


def _error(split: Split) -> float:
    """Return half the width of the 95% interval of an accuracy, in points, where it is widest: at one half."""
    return 98 / float(len(split.test)) ** 0.5


def _plain_data(run: Run, found: Probe, seed: int) -> dict[str, Any]:
    def task(split: Split | None) -> dict[str, Any] | None:
        return split and {"trained": len(split.train), "tested": len(split.test), "chance": split.chance}

    def accuracies(accuracy: Accuracy | None) -> dict[str, float] | None:
        return accuracy and accuracy._asdict()

    return {
        "run": str(run.path),
        "step": found.step,
        "source": found.source,
        "images": len(found.real_fake.labels) // 2,
        "fakes": "averaged weights" if found.averaged else "last weights",
        "seed": seed,
        "neighbours": NEIGHBOURS,
        "names": list(found.names),
        "classes": task(found.classes),
        "real_fake": task(found.real_fake),
        "features": [
            {
                "name": row.features,
                "numbers": row.numbers,
                "classes": accuracies(row.classes),
                "real_fake": accuracies(row.real_fake),
            }
            for row in found.rows
        ],
        "notes": list(found.notes),
    }
