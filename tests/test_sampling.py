"""Latents, sheets, walks and exported weights."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from toys import settings, trainer

from ganctl import sampling, session, weights
from ganctl.display import Display
from ganctl.errors import GanctlError
from ganctl.run import Run, make


def test_latents_begin_the_same_for_any_count() -> None:
    many = sampling.latents(3, 200, 7)
    assert torch.equal(sampling.latents(3, 5, 7), many[:5])
    assert torch.equal(sampling.latents(3, 64, 7), many[:64])
    assert not torch.equal(sampling.latents(4, 5, 7), many[:5])
    assert abs(float(many.mean())) < 0.1
    assert abs(float(many.std()) - 1) < 0.1


def test_truncation_keeps_latents_within_bounds_without_piling_up_there() -> None:
    points = sampling.latents(0, 500, 8, truncation=0.5)
    assert float(points.abs().max()) <= 0.5
    assert float((points.abs() > 0.49).float().mean()) < 0.1


def test_a_grid_is_laid_out_in_rows() -> None:
    cells = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    grid = sampling.grid(cells)
    assert grid[::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert sampling.grid(cells[:5])[2:, 4:].max() == 0


def test_slerp_keeps_the_length_and_halves_the_angle() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    middle = sampling.slerp(a, b, torch.tensor([0.5]))[0]
    torch.testing.assert_close(middle, torch.tensor([2.0, 2.0]) / 2**0.5)
    ends = sampling.slerp(a, b, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.stack([a, b]))
    torch.testing.assert_close(sampling.slerp(a, a, torch.tensor([0.3]))[0], a)


def test_a_walk_passes_its_stops_and_closes_without_a_seam() -> None:
    frames = list(sampling.walk(seed=0, paths=2, dim=16, frames=40, stops=4))
    assert len(frames) == 40
    points = sampling.latents(0, 8, 16).reshape(4, 2, 16)
    for stop in range(4):
        torch.testing.assert_close(frames[10 * stop], points[stop])
    steps = [float((b - a).norm()) for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert steps[-1] < 1.5 * max(steps[:-1])
    assert min(steps) > 0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make(tmp_path / "run", False, "")


def test_an_exported_file_alone_draws_the_last_sheet(run: Run) -> None:
    made = trainer(40)
    session.train(made, run, [Display(Console(), quiet=True)])
    trained = weights.load(run.weights)
    sheet = sampling.sheet(trained.network, sampling.latents(0, 64, trained.architecture.latent_dim))
    from PIL import Image

    assert np.array_equal(np.asarray(sheet), np.asarray(Image.open(run.sample(2))))
    assert sheet.size == (8 * 16, 8 * 16)
    assert trained.header.ema
    assert trained.header.step == 10


def test_equal_runs_export_equal_files(run: Run, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        made = trainer(40, train__steps=2)
        list(made.run())
        other = make(tmp_path / name, False, "")
        session.export(made, other)
        files.append(other.weights.read_bytes())
    assert files[0] == files[1]


class Conditional(nn.Module):
    """Draws each class in its own grey, and cannot do without labels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.grey = nn.Embedding(classes, 1)
        self.grey.weight.data = torch.linspace(-1, 1, classes)[:, None]

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.grey(labels)[:, :, None, None].expand(-1, 1, 2, 2)


def test_a_conditional_generators_sheet_has_a_row_per_class() -> None:
    sheet = np.asarray(sampling.sheet(Conditional(2), *sampling.layout(Conditional(2), 4, 2, seed=0)))
    assert sheet.shape == (16, 16)
    assert sheet[::2, 0].tolist() == [0, 255] * 4
    assert (sheet == sheet[:, :1]).all()
    many = np.asarray(sampling.sheet(Conditional(11), *sampling.layout(Conditional(11), 4, 11, seed=0)))
    assert many.shape == (22, 16)
    assert len(set(many[::2, 0].tolist())) == 11
    assert sampling.layout(Conditional(100), 4, 100, seed=0).columns == 8
    assert len(sampling.layout(Conditional(100), 4, 100, seed=0).points) == 8 * 32


def test_a_generator_that_does_not_heed_classes_has_an_ordinary_sheet() -> None:
    generator = trainer(40).generator
    points, labels, columns = sampling.layout(generator, 4, 11, seed=0)
    assert (len(points), columns) == (64, 8)
    assert labels is not None
    assert not sampling.tells_classes(generator, 4, 11)
    assert sampling.layout(generator, 4, 0, seed=0).labels is None


def test_a_generator_whose_conditioning_is_zero_at_first_is_still_conditional() -> None:
    generator = Conditional(2)
    generator.grey.weight.data.zero_()
    assert sampling.tells_classes(generator, 4, 2)
    assert float(generator.grey.weight.abs().max()) == 0


def test_a_walk_between_classes_begins_at_each_and_closes() -> None:
    frames = list(sampling.class_walk([2, 0, 1], classes=4, paths=3, frames=12))
    assert len(frames) == 12
    for stop, label in enumerate([2, 0, 1]):
        torch.testing.assert_close(frames[4 * stop], torch.eye(4)[label].expand(3, 4))
    torch.testing.assert_close(frames[2][0], torch.tensor([0.5, 0.0, 0.5, 0.0]))
    for frame in frames:
        torch.testing.assert_close(frame.sum(1), torch.ones(3))


def test_tied_weights_can_be_saved() -> None:
    tied = torch.ones(3, 3)
    weights.save(Path("t.safetensors"), {"a": tied, "b": tied, "c": tied.T}, {})
    tensors, _ = weights.read(Path("t.safetensors"))
    assert torch.equal(tensors["a"], tensors["b"])


def test_without_averaging_the_generator_itself_is_kept(run: Run) -> None:
    made = trainer(40, train__ema=0, train__steps=2)
    session.train(made, run, [Display(Console(), quiet=True)])
    trained = weights.load(run.weights)
    assert not trained.header.ema
    assert torch.equal(trained.network.layers[0].weight, made.generator.layers[0].weight)  # type: ignore[index]


def test_drawing_leaves_the_network_in_training_mode_and_its_statistics_alone() -> None:
    made = trainer(40)
    before = made.generator.layers[1].running_mean.clone()  # type: ignore[index, union-attr, operator]
    sampling.sheet(made.generator, sampling.latents(0, 64, 4))
    assert made.generator.training
    assert torch.equal(before, made.generator.layers[1].running_mean)  # type: ignore[index, union-attr, arg-type]


def exported(path: Path) -> Path:
    made = trainer(40)
    about = weights.header(settings(40), ema=True, step=0, images=0)
    weights.save(path, made.ema.network.state_dict(), about.model_dump(mode="json"))
    return path


def edited(path: Path, **changes: object) -> Path:
    """Change the description in an exported file."""
    tensors, about = weights.read(exported(path))
    weights.save(path, tensors, about | changes)
    return path


class Mark:
    """A pickle of this makes a file when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("MARK"),)


def test_a_pickle_is_refused_unread_under_any_name() -> None:
    for name in ("g.safetensors", "g.pt"):
        Path(name).write_bytes(pickle.dumps(Mark()))
        with pytest.raises(GanctlError, match=f"{name} is a pickle, which could run code"):
            weights.load(Path(name))
        torch.save({"x": torch.zeros(1)}, name)
        with pytest.raises(GanctlError, match=f"{name} is a pickle"):
            weights.load(Path(name))
    assert not Path("MARK").exists()


def test_torn_foreign_and_missing_weights_get_one_line() -> None:
    whole = exported(Path("g.safetensors")).read_bytes()
    cases = {
        "torn": (whole[: len(whole) // 2], "is not a safetensors file, or is not all there"),
        "empty": (b"", "is not a safetensors file, or is not all there"),
        "short": (b"abc", "is not a safetensors file"),
        "text": (b"hello, this is not a file of weights at all" * 9, "is not a safetensors file"),
        "liar": (struct.pack("<Q", 2**60) + b"{}", "is not a safetensors file"),
    }
    for name, (content, complaint) in cases.items():
        Path(name).write_bytes(content)
        with pytest.raises(GanctlError, match=complaint) as refusal:
            weights.load(Path(name))
        assert "\n" not in str(refusal.value)
    with pytest.raises(GanctlError, match="cannot read missing: No such file"):
        weights.load(Path("missing"))
    import safetensors.torch

    safetensors.torch.save_file({"x": torch.zeros(1)}, "foreign")
    with pytest.raises(GanctlError, match="was not written by ganctl"):
        weights.load(Path("foreign"))
    safetensors.torch.save_file({"x": torch.zeros(1)}, "odd", metadata={"ganctl": json.dumps([1])})
    with pytest.raises(GanctlError, match="was not written by ganctl"):
        weights.load(Path("odd"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "stylegan9", "package": "ganctl-stylegan9", "version": "2.0"}, "needs ganctl-stylegan9 2.0"),
        ({"architecture": "../../etc/passwd"}, "no architecture is called '../../etc/passwd'"),
        ({"architecture": "os:system"}, "no architecture is called 'os:system'"),
        ({"architecture": "\x1b[2J[red]"}, r"x1b\[2J\[red\]"),
        ({"format": 99}, "format 99, from a newer ganctl"),
        ({"options": {"width": -3}}, "its option width does not fit the installed dcgan"),
        ({"options": {"breadth": 3}}, "its option breadth does not fit the installed dcgan"),
        ({"data": "x"}, "does not say what to build"),
        ({"options": {"width": 4, "latent_dim": 4}}, "does not fit the network: layers.0.weight is"),
        ({"data": {"size": 64, "channels": 3}}, "does not fit the network"),
    ],
)
def test_weights_whose_header_does_not_fit_get_one_line(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(GanctlError, match=complaint) as refusal:
        weights.load(edited(Path("g.safetensors"), **changes))
    assert "\n" not in str(refusal.value)
