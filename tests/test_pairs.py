"""Every architecture with every loss: those that go together train, the others are refused with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import CPU, batches, settings

from ganctl import registry
from ganctl.config import Settings
from ganctl.errors import GanctlError
from ganctl.rehearsal import rehearse
from ganctl.trainer import Trainer, trainable

HERE = ("ganctl", "ganctl-goodfellow")
"""Packages whose plugins are tried with each other. Others have tests of their own, and larger networks."""
ENTRIES = [entry for entry in registry.entries() if entry.package in HERE]
OWN = {e.kind: [o.name for o in ENTRIES if o.kind == e.kind] for e in ENTRIES}
PAIRS = [(arch, loss) for arch in OWN["architecture"] for loss in OWN["loss"]]
CONDITIONAL = [
    (arch, loss, how)
    for arch, loss in PAIRS
    for how in ("none", "embedding", "auxiliary", "projection")
    if "conditioning" in registry.load("architecture", arch).model_fields
]


def tiny(arch: str, loss: str, **changes: object) -> Settings:
    """Settings of a pair, as its recipes have them, on noise in two classes."""
    values = {"arch__name": arch, "loss__name": loss, "data__classes": ["black", "brown"]}
    values |= {"train__steps": 3, "train__epochs": None}
    fields = registry.load("architecture", arch).model_fields
    options = {"arch__width": 4 if "width" in fields else None, "arch__latent_dim": 4}
    return settings(40, **values, **options, **changes)


def train(chosen: Settings, precision: torch.dtype = torch.float32) -> None:
    """Train three steps. Every figure and parameter is finite, every weight moves."""
    made = Trainer(chosen, batches(40), CPU, precision)
    networks = made.generator, made.discriminator
    before = [parameter.detach().clone() for network in networks for parameter in trainable(network)]
    rows = [row for report in made.run() for row in report.rows.values()]
    assert made.step == 3
    assert all(value == value and abs(value) < 1e6 for row in rows for value in row.values())
    after = [(name, p) for network in networks for name, p in network.named_parameters() if p.requires_grad]
    for old, (name, new) in zip(before, after, strict=True):
        assert new.isfinite().all(), name
        # A last bias has no gradient where only differences of logits count.
        assert new.ndim == 1 or not torch.equal(old, new), f"{name} has not moved"


def complaint(chosen: Settings) -> str:
    """What the rehearsal says against the pair, or nothing."""
    try:
        rehearse(chosen, CPU, torch.float32)
    except GanctlError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("arch", "loss"), PAIRS)
def test_a_pair_trains_with_its_recipes_or_is_refused_by_name(arch: str, loss: str) -> None:
    chosen = tiny(arch, loss)
    if reason := complaint(chosen):
        assert reason.startswith(f"{arch} with {loss}: ")
        assert (arch, loss) == ("perceptron", "acgan"), reason
        assert "needs an auxiliary classifier" in reason
    else:
        train(chosen)


@pytest.mark.parametrize(("arch", "loss", "how"), CONDITIONAL)
def test_every_conditioning_trains_or_is_refused_with_the_remedy(arch: str, loss: str, how: str) -> None:
    reason = complaint(chosen := tiny(arch, loss, arch__conditioning=how))
    if how == "auxiliary" and loss != "acgan":
        assert "nothing trains discriminator.head.classifier" in reason
        assert f"which ganctl show {arch} lists" in reason
    elif how != "auxiliary" and loss == "acgan":
        assert "--set arch.conditioning=auxiliary" in reason
    else:
        assert not reason
        train(chosen)


@pytest.mark.parametrize("penalty", ["r1_weight", "r2_weight", "gp_weight"])
@pytest.mark.parametrize("loss", [name for name in OWN["loss"] if name != "minimax"])
def test_any_loss_takes_any_penalty_without_batch_normalisation(loss: str, penalty: str) -> None:
    changes = {f"loss__{penalty}": 0.1, "loss__penalty_every": 2}
    train(tiny("dcgan", loss, arch__d_norm="layer", **changes))
    reason = complaint(tiny("dcgan", loss, arch__d_norm="batch", **changes))
    assert "batch normalisation" in reason
    assert "arch.d_norm=layer" in reason


@pytest.mark.parametrize("loss", OWN["loss"])
def test_every_loss_trains_in_half_precision_with_a_penalty(loss: str) -> None:
    penalised = "gp_weight" in registry.load("loss", loss).model_fields
    train(tiny("dcgan", loss, arch__d_norm="layer", **{"loss__gp_weight": 10} if penalised else {}), torch.bfloat16)


@pytest.mark.parametrize("loss", ["acgan", "bce"])
def test_labels_that_are_needed_and_missing_are_asked_for(loss: str) -> None:
    chosen = tiny("dcgan", loss, arch__conditioning="auxiliary" if loss == "acgan" else "projection")
    bare = chosen.spec.model_copy(update={"classes": ()})
    assert "class folders" in complaint(replace(chosen, spec=bare))


def test_clipping_under_spectral_normalisation_is_refused() -> None:
    assert "undoes their clipping" in complaint(tiny("dcgan", "wgan", arch__d_norm="spectral"))


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ("wgan-gp", {"train.d_steps": 5, "arch.d_norm": "layer", "optim.g.betas": [0.0, 0.9]}),
        ("wgan", {"train.d_steps": 5, "optim.g.name": "rmsprop", "optim.d.lr": 5e-5}),
        ("acgan", {"arch.conditioning": "auxiliary"}),
    ],
)
def test_a_loss_brings_the_settings_that_it_needs(loss: str, wanted: dict[str, object]) -> None:
    values = {key: value for key, value, _ in tiny("dcgan", loss).rows()}
    assert {key: values[key] for key in wanted} == wanted


def test_resnet_brings_its_settings() -> None:
    values = {key: value for key, value, _ in tiny("resnet", "hinge").rows()}
    assert values["arch.d_norm"] == "spectral"
    assert values["optim.d.betas"] == [0.0, 0.9]
