"""How fast this machine is, as a table or as JSON."""

from __future__ import annotations

import json

from ganctl.assemble import Layers, assemble, load_data
from ganctl.bench import Bench, bench
from ganctl.display import Display
from ganctl.resolve import Layer


def measure(user: Layer, recipe: Layer, shown: Display) -> Bench:
    """Measure the machine with the networks and images of the settings."""
    layers = Layers(user, recipe)
    packed = load_data(layers.resolve(), shown.progress)
    return bench(assemble(layers, packed, lambda line: shown.note(line, "dim")), packed, shown.progress)


def show(found: Bench, shown: Display) -> None:
    """Show what was measured."""
    machine, ceilings = found.machine, found.ceilings
    shown.note(f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['device']}")
    shown.note(f"ganctl {machine['ganctl']}, torch {machine['torch']}, Python {machine['python']}")
    speeds = ", ".join(f"{name} {rate:,.0f}" for name, rate in ceilings.convolution.items())
    shown.note(
        f"at best: convolutions {speeds} GFLOP/s; memory {ceilings.memory:.1f} GB/s; disk {ceilings.disk:,.0f} MB/s"
    )
    shown.note(
        f"{machine['architecture']} with {machine['loss']}, {machine['size']} px, batch {machine['batch']}, "
        f"{machine['precision']}: {found.gflop:,.1f} GFLOP a step, of which it waits {found.waiting:.1%} for images"
    )
    shown.note()
    rows = [
        (stage.name, f"{stage.rate:,.0f} {stage.unit}", f"{stage.share:.0%}", f"{stage.limit:,.0f}", stage.bound)
        for stage in found.stages
    ]
    shown.table(rows, ("stage", "rate", "of its limit", "limit", "set by"))


def as_json(found: Bench) -> str:
    """Return what was measured as JSON."""
    return json.dumps(found.plain(), indent=1)
