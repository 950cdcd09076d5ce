"""The training loop: what it updates, what it reports, and that it can stop and go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import CPU, settings, trainer

from ganctl import checkpoint, optim
from ganctl.api import Batch, Step, Terms
from ganctl.data.batches import Batches
from ganctl.errors import GanctlError, PluginError
from ganctl.losses.bce import BCE
from ganctl.rehearsal import rehearse
from ganctl.trainer import Trainer


def state(of: Trainer) -> dict[str, Tensor]:
    networks = {"g": of.generator, "d": of.discriminator, "e": of.ema.network}
    return {f"{name}.{k}": v.clone() for name, net in networks.items() for k, v in net.state_dict().items()}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_it_reports_before_the_first_step_and_after_each_with_rows_when_due() -> None:
    reports = list(trainer(40).run())  # 5 steps an epoch, 2 epochs, a row every 3 steps
    assert [report.step for report in reports] == list(range(11))
    assert [report.step for report in reports if "step" in report.rows] == [3, 6, 9, 10]
    assert [report.step for report in reports if "epoch" in report.rows] == [5, 10]
    assert [report.epoch for report in reports] == [0] + [1] * 5 + [2] * 5
    assert reports[-1].images == 80
    figures = reports[3].rows["step"]
    wanted = {"loss_g", "loss_d", "loss_d_real", "loss_d_fake", "score_real", "score_fake", "accuracy_d"}
    assert wanted | {"images_per_second"} == figures.keys()
    assert figures["loss_d"] == pytest.approx(figures["loss_d_real"] + figures["loss_d_fake"], rel=1e-5)


def test_it_ends_by_steps_in_mid_epoch_with_both_rows() -> None:
    reports = list(trainer(40, train__steps=7).run())
    assert reports[-1].step == 7
    assert reports[-1].rows.keys() == {"step", "epoch"}
    assert reports[-1].epoch == 2


def test_epoch_means_are_the_means_of_the_steps() -> None:
    one = [r.rows["step"]["loss_g"] for r in trainer(40, train__epochs=1, train__log_every=1).run() if r.rows]
    whole = [r.rows["epoch"]["loss_g"] for r in trainer(40, train__epochs=1).run() if "epoch" in r.rows]
    assert whole == [pytest.approx(sum(one) / len(one))]


def test_several_discriminator_steps_see_new_images_each() -> None:
    reports = list(trainer(40, train__d_steps=5, train__epochs=1).run())
    assert reports[-1].step == 1
    assert reports[-1].images == 40


class Watching(BCE):
    """BCE that notes what it is given."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        seen.append(("d", len(real.images), len(fake.images), fake.images.requires_grad))
        return super().discriminator_loss(real, fake)

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        seen.append(("g", len(real.images), len(fake.images), fake.images.requires_grad))
        return super().generator_loss(fake, real)

    def discriminator_penalty(self, real: Batch, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        steps.append((step.number, step.images))
        step.state["calls"] = step.state.get("calls", torch.zeros(())) + 1
        return {"penalty": real.logits.square().mean()}

    def after_discriminator_step(self, step: Step) -> None:
        with torch.no_grad():
            for parameter in step.discriminator.parameters():
                parameter.clamp_(-0.01, 0.01)


seen: list[tuple[str, int, int, bool]] = []
steps: list[tuple[int, int]] = []


@pytest.fixture
def watching() -> list[tuple[str, int, int, bool]]:
    seen.clear()
    steps.clear()
    return seen


def watched(**changes: object) -> Trainer:
    made = trainer(40, **changes)
    made.loss = Watching()
    return made


def test_batches_of_discriminator_and_generator_may_differ(watching: list[tuple[str, int, int, bool]]) -> None:
    list(watched(train__steps=1, train__g_batch_size=16).run())
    assert watching == [("d", 8, 8, False), ("g", 16, 16, True)]


def test_penalties_are_added_state_is_kept_and_clipping_follows_each_step(watching: list[object]) -> None:
    made = watched(train__steps=2, train__d_steps=2)
    reports = list(made.run())
    figures = reports[-1].rows["epoch"]
    assert figures["loss_d"] == pytest.approx(figures["loss_d_real"] + figures["loss_d_fake"] + figures["penalty"])
    assert steps == [(0, 0), (1, 8), (2, 16), (3, 24)]
    assert float(made.loss_state["calls"]) == 4
    assert max(float(p.detach().abs().max()) for p in made.discriminator.parameters()) <= 0.01


def test_joint_passes_judge_both_in_one_and_so_change_batch_normalisation() -> None:
    calls: list[int] = []
    sizes = {}
    for joint in (False, True):
        made = trainer(40, train__steps=1, train__joint=joint)
        calls.clear()
        made.discriminator.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
        list(made.run())
        sizes[joint] = list(calls)
    assert sizes == {False: [8, 8, 8], True: [16, 8]}


def test_each_update_changes_only_its_own_network() -> None:
    made = trainer(40)
    before = state(made)
    with made.random:
        real = made.batches.at(0, 8)
        drawn = made._draw(real, keep=True)
        made._train_discriminator(real, drawn)
    after = state(made)
    weights = {name for name, _ in made.generator.named_parameters()}
    assert all(torch.equal(before[f"g.{name}"], after[f"g.{name}"]) for name in weights)
    assert not torch.equal(before["d.layers.0.weight"], after["d.layers.0.weight"])
    assert all(parameter.grad is None for parameter in made.generator.parameters())
    with made.random:
        made._train_generator(real, drawn)
    last = state(made)
    assert torch.equal(after["d.layers.0.weight"], last["d.layers.0.weight"])
    assert not torch.equal(after["g.layers.0.weight"], last["g.layers.0.weight"])


@pytest.mark.parametrize(("g_batch_size", "drawn"), [(None, 3), (8, 4)])
def test_the_generator_learns_from_the_fakes_that_the_discriminator_saw_last(
    g_batch_size: int | None, drawn: int
) -> None:
    made = trainer(40, flip=False, train__d_steps=3, train__steps=1, train__g_batch_size=g_batch_size)
    drawings: list[object] = []
    seen: list[torch.Tensor] = []
    made.generator.register_forward_hook(lambda *_: drawings.append(None))
    made.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    list(made.run())
    assert len(drawings) == drawn
    assert torch.equal(seen[-1], seen[-2]) == (g_batch_size is None)


def test_whoever_watches_cannot_change_the_run() -> None:
    quiet, noisy = trainer(40), trainer(40)
    list(quiet.run())
    for _ in noisy.run():
        torch.manual_seed(123)
        torch.randn(7)
    assert_same(state(quiet), state(noisy))


def test_a_run_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    list(trainer(40, train__steps=2).run())
    assert torch.equal(torch.randn(3), expected)


def test_a_run_is_a_function_of_its_seed() -> None:
    runs = [trainer(40, train__seed=seed, train__steps=3) for seed in (0, 0, 1)]
    for each in runs:
        list(each.run())
    assert_same(state(runs[0]), state(runs[1]))
    assert not torch.equal(runs[0].generator.layers[0].weight, runs[2].generator.layers[0].weight)  # type: ignore[index]


class Noisy(BCE):
    """BCE that draws from torch's default generator and keeps a number."""

    def discriminator_penalty(self, real: Batch, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        step.state["drawn"] = step.state.get("drawn", torch.zeros(())) + torch.rand(())
        return {"noise": step.state["drawn"] * real.logits.mean()}


@pytest.mark.parametrize("stop", range(1, 10))
def test_a_run_stopped_anywhere_and_resumed_is_the_same_run(tmp_path: Path, stop: int) -> None:
    """With everything that is random or remembered: flips, noise in the loss, its state, optimisers, meters."""
    changes = {"train__d_steps": 2, "train__epochs": 4, "optim__d__name": "rmsprop", "train__g_batch_size": 12}
    whole, first, second = (trainer(40, **changes) for _ in range(3))
    for each in (whole, first, second):
        each.loss = Noisy()
    expected = list(whole.run())
    for report in first.run():
        if report.step == stop:
            checkpoint.save(tmp_path / "c.safetensors", first, log_bytes=77)
            break
    assert checkpoint.load(tmp_path / "c.safetensors", second) == 77
    rest = list(second.run())
    assert_same(state(whole), state(second))
    for report, original in zip(rest, expected[stop + 1 :], strict=True):
        assert (report.step, report.epoch, report.images) == (original.step, original.epoch, original.images)
        for kind, figures in original.rows.items():
            ours = report.rows[kind]
            assert {k: v for k, v in ours.items() if k != "images_per_second"} == pytest.approx(
                {k: v for k, v in figures.items() if k != "images_per_second"}, rel=1e-6
            )


def test_half_precision_goes_on_with_its_loss_scale(tmp_path: Path) -> None:
    made = Trainer(settings(40, train__steps=3), trainer(40).batches, CPU, torch.float16)
    list(made.run())
    made.g_scaler.update(512.0)
    checkpoint.save(tmp_path / "c.safetensors", made, 0)
    other = Trainer(settings(40, train__steps=3), trainer(40).batches, CPU, torch.float16)
    checkpoint.load(tmp_path / "c.safetensors", other)
    assert other.g_scaler.get_scale() == 512.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_to_tell_real_from_fake(dtype: torch.dtype) -> None:
    bright = Batches(np.full((40, 16, 16, 3), 240, np.uint8), None, seed=0, device=CPU)
    plain = settings(40, train__epochs=None, train__steps=30, arch__d_norm="none", optim__d__lr=0.01)
    made = Trainer(plain, bright, CPU, dtype)
    rows = [report.rows["step"] for report in made.run() if "step" in report.rows]
    assert rows[-1]["accuracy_d"] > 0.8
    assert rows[-1]["loss_d"] < rows[0]["loss_d"]
    assert all(parameter.dtype == torch.float32 for parameter in made.generator.parameters())


def test_betas_do_not_reach_optimisers_without_them_unless_insisted_on() -> None:
    assert type(trainer(40, optim__d__name="rmsprop").d_optimiser).__name__ == "RMSprop"
    with pytest.raises(GanctlError, match=r"optim\.d\.betas: rmsprop takes no betas"):
        trainer(40, optim__d__name="rmsprop", optim__d__betas=[0.5, 0.9])
    with pytest.raises(GanctlError, match="torch.optim has no 'adamm'; did you mean 'adam'"):
        trainer(40, optim__g__name="adamm")


def test_each_network_has_its_own_optimiser_settings() -> None:
    made = trainer(40, optim__g__lr=1e-3, optim__d__lr=1e-4, optim__d__weight_decay=0.1, optim__g__betas=[0.0, 0.9])
    assert made.g_optimiser.param_groups[0]["lr"] == 1e-3
    assert made.g_optimiser.param_groups[0]["betas"] == (0.0, 0.9)
    assert made.d_optimiser.param_groups[0]["lr"] == 1e-4
    assert made.d_optimiser.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize("name", sorted(optim.classes()))
def test_every_optimiser_that_is_offered_trains(name: str) -> None:
    made = trainer(40, train__steps=1, optim__g__name=name, optim__d__name=name)
    list(made.run())


def test_frozen_parameters_stay_as_they_are() -> None:
    made = trainer(40, train__steps=2)
    frozen = made.discriminator.layers[0].weight.requires_grad_(False)  # type: ignore[index, union-attr, operator]
    before = frozen.clone()
    list(made.run())
    assert torch.equal(before, frozen)


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.safetensors", trainer(40), 0)
    for change, key in (({"optim__g__lr": 0.01}, "optim.g.lr was 0.0002"), ({"optim__d__name": "sgd"}, "optim.d.name")):
        with pytest.raises(GanctlError, match=key):
            checkpoint.load(tmp_path / "c.safetensors", trainer(40, **change))
    checkpoint.load(tmp_path / "c.safetensors", trainer(40, train__epochs=9, train__log_every=1, train__keep=5))


class Labelled(BCE):
    """A loss that needs an auxiliary classifier."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return fake.class_logits.mean()


class Crashing(BCE):
    """A loss with a bug."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        raise KeyError("nothing")


def test_plugins_that_do_not_go_together_are_refused_by_name_before_the_first_step() -> None:
    plain = settings(40)
    rehearse(plain, CPU, torch.float32)
    object.__setattr__(plain, "loss", Labelled())
    with pytest.raises(GanctlError, match="dcgan with bce: the loss needs an auxiliary classifier"):
        rehearse(plain, CPU, torch.float32)
    object.__setattr__(plain, "loss", Crashing())
    with pytest.raises(PluginError, match=r"dcgan with bce cannot train: KeyError: 'nothing' \(.*test_trainer"):
        rehearse(plain, CPU, torch.float32)


def test_a_rehearsal_changes_nothing() -> None:
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    rehearse(settings(40), CPU, torch.float32)
    assert torch.equal(torch.randn(2), expected)


def test_spectral_normalisation_survives_a_resume(tmp_path: Path) -> None:
    whole, first, second = (trainer(40, arch__d_norm="spectral") for _ in range(3))
    list(whole.run())
    for report in first.run():
        if report.step == 4:
            checkpoint.save(tmp_path / "c.safetensors", first, 0)
            break
    checkpoint.load(tmp_path / "c.safetensors", second)
    list(second.run())
    assert_same(state(whole), state(second))


@pytest.mark.parametrize(
    ("decay", "start", "factors"),
    [
        ("linear", 0.0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("linear", 0.5, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        ("cosine", 0.0, [(1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)]),
    ],
)
def test_the_learning_rate_falls_as_it_is_told_to(decay: str, start: float, factors: list[float]) -> None:
    made = trainer(40, optim__d__decay=decay, optim__d__decay_from=start, optim__d__lr=1e-3)
    rates = [made.d_optimiser.param_groups[0]["lr"] for report in made.run() if report.step]
    assert rates == pytest.approx([1e-3 * factor for factor in factors])
    assert made.g_optimiser.param_groups[0]["lr"] == 2e-4


def test_gradients_are_clipped_to_a_norm_of_all_together() -> None:
    """One step of plain gradient descent moves the weights as far as the rate times the clipped norm."""
    sgd = {"optim__d__name": "sgd", "optim__d__lr": 1.0, "train__steps": 1}

    def moved(**changes: object) -> float:
        made = trainer(40, **sgd, **changes)
        before = [p.detach().clone() for p in made.discriminator.parameters()]
        for _ in made.run():
            pass
        pairs = zip(made.discriminator.parameters(), before, strict=True)
        return float(torch.cat([(new.detach() - old).flatten() for new, old in pairs]).norm())

    far = moved()
    assert moved(optim__d__clip=far / 3) == pytest.approx(far / 3, rel=1e-3)
    assert moved(optim__d__clip=far * 3) == pytest.approx(far, rel=1e-6)


def test_a_length_in_images_counts_those_that_the_discriminator_sees() -> None:
    made = trainer(40, train__images=100, train__epochs=None, train__d_steps=3)
    for _ in made.run():
        pass
    assert made.step == 5  # of 3 times 8 images
    assert made.images == 120


def seen_by(**changes: object) -> list[Tensor]:
    """Return all that the discriminator is shown in one step."""
    made = trainer(40, train__steps=1, **changes)
    seen: list[Tensor] = []
    made.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    for _ in made.run():
        pass
    return seen


@pytest.mark.parametrize("joint", [False, True])
def test_the_discriminator_sees_real_and_fake_with_noise_in_both_networks_steps(joint: bool) -> None:
    plain = seen_by(train__joint=joint, flip=False)
    noisy = seen_by(train__joint=joint, flip=False, augment__noise=0.5)
    assert len(plain) == len(noisy) == (2 if joint else 3)
    # Latents are drawn before noise is, so that the discriminator's step sees the same images beneath.
    for before, after in zip(plain[:-1], noisy[:-1], strict=True):
        assert float((after - before).std()) == pytest.approx(0.5, rel=0.05)
    assert noisy[-1].abs().max() > 1.2


def test_a_run_with_everything_on_resumes_exactly(tmp_path: Path) -> None:
    changes = {
        "arch__d_norm": "spectral", "arch__dropout": 0.2, "loss__label_noise": 0.1, "loss__real_labels": [0.8, 1.1],
        "loss__r1_weight": 0.1, "loss__penalty_every": 3, "augment__noise": 0.1, "augment__translation": True,
        "augment__colour": True, "augment__cutout": True, "optim__g__decay": "cosine", "optim__d__decay": "linear",
        "optim__d__clip": 1.0, "train__d_steps": 2, "train__epochs": 4,
    }  # fmt: skip
    whole = trainer(40, **changes)
    for _ in whole.run():
        pass
    first = trainer(40, **changes)
    for report in first.run():
        if report.step == 5:
            break
    checkpoint.save(tmp_path / "step", first, 0)
    second = trainer(40, **changes)
    checkpoint.load(tmp_path / "step", second)
    for _ in second.run():
        pass
    assert second.step == whole.step == 12
    assert_same(state(second), state(whole))


@pytest.mark.parametrize(("changes", "drawn"), [({"train__d_steps": 3}, 8), ({"train__g_batch_size": 12}, 12)])
def test_the_average_counts_the_images_that_the_generator_draws(changes: dict[str, int], drawn: int) -> None:
    made = trainer(40, train__steps=2, train__epochs=None, train__ema=0.5 * drawn, **changes)
    made.ema._ramp = 1.0  # so that the half-life is what is set
    twin = {name: value.clone() for name, value in made.generator.named_parameters()}
    for report in made.run():
        if report.step:
            for name, value in made.generator.named_parameters():
                twin[name] = twin[name].lerp(value.detach(), 0.75)  # two half-lives a step
    for name, value in made.ema.network.named_parameters():
        torch.testing.assert_close(value, twin[name].detach())
