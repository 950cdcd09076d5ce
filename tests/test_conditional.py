"""Conditional GANs: the classes are learnt, and what is asked for is drawn, as read from the pixels of faces' hair."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from numpy.typing import NDArray
from PIL import Image
from toys import layer

from ganctl import sampling, session, weights
from ganctl.assemble import Layers, assemble, config_text, load_data
from ganctl.data.pack import Packed
from ganctl.resolve import Layer
from ganctl.run import Run, make
from ganctl.trainer import Trainer

SMALL = {"data.size": 16, "data.limit": 1500, "data.count": 2000, "arch.width": 8, "arch.latent_dim": 64}
SHORT = {"train.steps": 500, "train.batch_size": 32, "optim.g.lr": 1e-3, "optim.d.lr": 1e-3}
CHANCE = 1 / 8


def trained(**changes: object) -> tuple[Trainer, Packed]:
    """A trainer that has learnt faces for a few seconds, and all the faces."""
    layers = Layers(layer(SMALL | SHORT | {key.replace("__", "."): value for key, value in changes.items()}), Layer())
    packed = load_data(layers.resolve(), lambda *_: None)
    made = assemble(layers, packed)
    for _ in made.run():
        pass
    return made, packed


def hair(images: NDArray[np.uint8], packed: Packed) -> NDArray[np.int64]:
    """The class of each image (N, 16, 16, 3) whose typical upper third, where the hair is, is nearest in colour."""
    upper = packed.images[:, :6].astype(float)
    typical = np.stack([np.median(upper[packed.labels == label], axis=0) for label in range(8)])
    distance = np.abs(images[:, None, :6].astype(float) - typical).mean((2, 3, 4))
    return distance.argmin(1)


@pytest.fixture(scope="module")
def acgan() -> tuple[Trainer, Packed]:
    return trained(loss__name="acgan")


def test_the_pixels_tell_the_classes_of_real_faces(acgan: tuple[Trainer, Packed]) -> None:
    _, packed = acgan
    assert (hair(packed.images, packed) == packed.labels).mean() > 0.8


def test_the_auxiliary_classifier_learns_hair_colours(acgan: tuple[Trainer, Packed]) -> None:
    made, packed = acgan
    held_out = np.setdiff1d(np.arange(len(packed.images)), made.batches._chosen)
    assert len(held_out) == 500
    images = torch.from_numpy(packed.images[held_out]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        found = made.discriminator.eval()(images, None).class_logits.argmax(1).numpy()
    assert (found == packed.labels[held_out]).mean() > 0.7


def drawn_as_asked(made: Trainer, packed: Packed) -> float:
    labels = torch.arange(256) % 8
    blocks = sampling.draw(session.kept(made), sampling.latents(5, 256, 64), labels)
    return float((hair(np.concatenate(list(blocks)), packed) == labels.numpy()).mean())


def variety(made: Trainer, packed: Packed) -> float:
    """How much images of one class differ from each other, as a share of how much real ones do."""

    def within(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        return float(np.mean([images[labels == label].std(0).mean() for label in range(8)]))

    labels = torch.arange(256) % 8
    blocks = sampling.draw(session.kept(made), sampling.latents(5, 256, 64), labels)
    return within(np.concatenate(list(blocks)), labels.numpy()) / within(packed.images, packed.labels)


def test_acgan_draws_the_class_that_is_asked_for(acgan: tuple[Trainer, Packed]) -> None:
    assert drawn_as_asked(*acgan) > 2.5 * CHANCE


def test_a_class_is_not_drawn_as_one_image(acgan: tuple[Trainer, Packed]) -> None:
    assert variety(*acgan) > 0.4


@pytest.mark.parametrize(("loss", "conditioning"), [("hinge", "projection"), ("bce", "embedding")])
def test_other_conditionings_draw_the_class_that_is_asked_for(loss: str, conditioning: str) -> None:
    made, packed = trained(loss__name=loss, arch__conditioning=conditioning)
    assert drawn_as_asked(made, packed) > 2.5 * CHANCE
    assert variety(made, packed) > 0.4


@pytest.fixture
def run(acgan: tuple[Trainer, Packed], tmp_path: Path) -> Run:
    made, packed = acgan
    run = make(tmp_path / "run", False, config_text(made, packed))
    session.export(made, run)
    return run


def test_sample_draws_one_class_by_name_or_by_number(acgan: tuple[Trainer, Packed], run: Run, cli) -> None:
    classes = acgan[1].manifest.classes
    assert cli("sample", run, "--label", classes[6], "-n", 100, "-o", "named.png").code == 0
    assert cli("sample", run, "--label", 6, "-n", 100, "-o", "numbered.png").code == 0
    sheet = np.asarray(Image.open("named.png"))
    assert sheet.shape == (160, 160, 3)
    assert np.array_equal(sheet, np.asarray(Image.open("numbered.png")))
    cells = sheet.reshape(10, 16, 10, 16, 3).swapaxes(1, 2).reshape(100, 16, 16, 3)
    assert (hair(cells, acgan[1]) == 6).mean() > 2.5 * CHANCE


def test_a_sheet_without_a_label_has_a_row_of_each_class(acgan: tuple[Trainer, Packed], run: Run, cli) -> None:
    assert cli("sample", run, "-o", "all.png").code == 0
    sheet = np.asarray(Image.open("all.png"))
    cells = sheet.reshape(8, 16, 8, 16, 3).swapaxes(1, 2)
    right = [(hair(cells[row], acgan[1]) == row).mean() for row in range(8)]
    assert np.mean(right) > 2 * CHANCE


def frames(path: str) -> NDArray[np.uint8]:
    import imageio.v3

    return imageio.v3.imread(path)


def test_a_walk_stays_within_a_class_or_goes_between_classes(acgan: tuple[Trainer, Packed], run: Run, cli) -> None:
    classes = acgan[1].manifest.classes
    for name, labels in (("within", [classes[6]]), ("between", [classes[6], "7"])):
        flags = [flag for label in labels for flag in ("--label", label)]
        result: Result = cli("walk", run, "--seconds", 0.5, *flags, "-o", f"{name}.gif")
        assert result.code == 0, result.err

    def cells(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert frame.shape == (256, 256, 3), "four by four, each pixel four times as large"
        return frame[2::4, 2::4].reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)

    within, between = frames("within.gif"), frames("between.gif")
    assert len(within) == len(between) == 12
    trained = weights.load(run.weights)
    draw = partial(sampling.draw, trained.network)
    still = sampling.latents(0, 16, 64)
    first, turned = (next(draw(still, torch.full((16,), label))) for label in (6, 7))
    # A film's colours are near those that were drawn; the other class's are not.
    for film, frame, drawn, other in (
        (within, 0, first, turned),
        (between, 0, first, turned),
        (between, 6, turned, first),
    ):
        shown = cells(film[frame]).astype(float)
        assert np.abs(shown - drawn).mean() < np.abs(shown - other).mean() / 2


def test_a_label_that_is_none_gets_one_line(run: Run, cli) -> None:
    for command in ("sample", "walk"):
        result = cli(command, run, "--label", "purpel")
        assert result.code == 1
        assert result.err.count("\n") == 1
        assert "no class 'purpel'" in result.err
    assert "did you mean" in cli("sample", run, "--label", "bleu").err
    assert cli("sample", run, "--label", "8").code == 1


def test_a_label_for_a_generator_that_heeds_none_is_refused(tmp_path: Path, cli) -> None:
    made, packed = trained(train__steps=1)
    run = make(tmp_path / "plain", False, config_text(made, packed))
    session.export(made, run)
    result = cli("sample", run, "--label", "0")
    assert result.code == 1
    assert "draws all classes alike, for it was trained without conditioning" in result.err
    assert "--loss acgan" in result.err
