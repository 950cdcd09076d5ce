"""Networks in words: layers with shapes and parameter counts, and the memory that training them takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganctl.config import Settings
from ganctl.errors import GanctlError
from ganctl.sampling import latents

BASE_MB = 830
"""What Python and torch take once they have trained the smallest network, as measured on Linux with a CPU."""


class LayerLine(NamedTuple):
    """One layer: its path in the network, its class, the shape of one image's output, and its parameters."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


class Summary(NamedTuple):
    """Both networks, layer by layer, and an estimate of the peak memory of training, in MB."""

    generator: list[LayerLine]
    discriminator: list[LayerLine]
    memory_mb: float


def summarise(settings: Settings) -> Summary:
    """Build the networks of *settings* and pass two images through them."""
    try:
        generator, discriminator = settings.architecture.build(settings.spec)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise GanctlError("the networks do not fit into memory; lower --size or arch.width") from error
    points = latents(0, 2, settings.architecture.latent_dim)
    labels = torch.zeros(2, dtype=torch.long) if settings.spec.classes else None
    with torch.no_grad():
        g_lines, images = _trace(generator, points, labels)
        d_lines, _ = _trace(discriminator, images, labels)
    return Summary(g_lines, d_lines, _memory(settings, g_lines, d_lines))


def recorded(settings: Settings) -> dict[str, list[str]]:
    """Return each network as config.toml records it: a line a layer, ``name kind shape parameters``.

    Networks that two images cannot pass through have none: it is training that has to work, and not this.
    """
    try:
        summary = summarise(settings)
    except Exception:
        return {}
    networks = {"generator": summary.generator, "discriminator": summary.discriminator}
    return {
        name: [f"{line.name} {line.kind} {'x'.join(map(str, line.shape)) or '-'} {line.parameters}" for line in lines]
        for name, lines in networks.items()
    }


def _trace(network: nn.Module, inputs: Tensor, labels: Tensor | None) -> tuple[list[LayerLine], Tensor]:
    lines: list[LayerLine] = []
    handles = []
    counted: set[int] = set()

    def note(name: str, layer: nn.Module) -> None:
        def hook(_: nn.Module, __: object, output: object) -> None:
            own = [p for p in layer.parameters() if id(p) not in counted]
            counted.update(id(p) for p in own)
            shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
            lines.append(
                LayerLine(name, type(layer).__name__.removeprefix("Parametrized"), shape, sum(p.numel() for p in own))
            )

        handles.append(layer.register_forward_hook(hook))

    for name, layer in network.named_modules():
        # A layer is a module without parts; a parametrised one's only part is its parametrisation.
        if (
            not any("parametrizations" not in child for child, _ in layer.named_children())
            and "parametrizations" not in name
        ):
            note(name, layer)
    output = network(inputs, labels)
    for handle in handles:
        handle.remove()
    rest = sum(p.numel() for p in network.parameters() if id(p) not in counted)
    if rest:
        lines.append(LayerLine("(own)", type(network).__name__, (), rest))
    return lines, output


def _memory(settings: Settings, g_lines: list[LayerLine], d_lines: list[LayerLine]) -> float:
    """Add up weights, gradients, moments and the average, and each layer's output twice over, for backward.

    While the discriminator is trained, the generator's outputs are kept for its own step.
    """
    numbers = sum(line.parameters for line in g_lines) * 5 + sum(line.parameters for line in d_lines) * 4
    g_outputs, d_outputs = (sum(_size(line.shape) for line in lines) for lines in (g_lines, d_lines))
    batch = settings.train.batch_size
    g_batch = settings.train.g_batch_size or batch
    kept = 0 if settings.train.g_batch_size else batch * g_outputs
    numbers += max(4 * batch * d_outputs + kept, 2 * g_batch * (g_outputs + d_outputs))
    return BASE_MB + numbers * 4 / 1e6


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
