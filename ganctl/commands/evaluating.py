"""Judge generated images by metrics, beside real ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ganctl import device as devices
from ganctl import weights
from ganctl.assemble import Layers, load_data
from ganctl.commands.drawing import weights_file
from ganctl.config import Settings, steps_per_epoch
from ganctl.data.pack import Packed
from ganctl.display import Display
from ganctl.errors import GanctlError, plain
from ganctl.evaluation import (
    SEED,
    TRAINED_ON,
    Evaluator,
    Numbers,
    Pixels,
    Reals,
    Score,
    about_generator,
    choose_reals,
    chosen,
    draw_fakes,
    labels_like,
)
from ganctl.resolve import Layer, Value, read_recipe
from ganctl.run import InUse, MetricsLog, Run, open_run

GIVEN = "images given by --data"


class _Generated(NamedTuple):
    """What is judged."""

    images: Callable[[], Iterable[Pixels]]
    number: int
    about: Mapping[str, Any]
    """What the protocol has of it."""


def evaluate(source: Path, user: Layer, shown: Display) -> None:
    """Judge what *source* is or draws: a run, exported weights, or a folder of images.

    What is found of a run is added to its metrics.jsonl. Raise :class:`GanctlError` where it is not known what to
    compare with.
    """
    run = None
    if source.is_dir() and not Run(source).config.is_file():
        settings, packed = _reals_of(source, user, Layer(_form_of_folder(source, user)), shown)
        rows, _ = chosen(settings, packed)
        generated = _pictures(source, settings, "metric.images" in user.values, shown)
        split = GIVEN
    else:
        trained = weights.load(file := weights_file(source))
        run = open_run(source) if source.is_dir() else None
        form = trained.header.data
        recipe = _recipe_of(run, user) if run else Layer(_form(form.size, form.channels, file))
        settings, packed = _reals_of(source, user, recipe, shown)
        rows, known = chosen(settings, packed)
        generated = _drawn(trained, file, settings, known, _device(settings, user))
        split = GIVEN
        if run and "data.source" not in user.values:
            same = run.about().get("pixels") == packed.manifest.hash
            split = TRAINED_ON if same else "images of the run's source, which have changed since"
    reals = choose_reals(packed, rows, settings.metric.reals, split)
    evaluator = Evaluator(settings.metrics, reals, generated.number, _device(settings, user), shown.progress)
    for line in evaluator.hints:
        shown.note(line, "yellow")
    scores = evaluator.scores(generated.images(), generated.about, shown.progress)
    _show(source, scores, shown)
    if run:
        _record(run, trained.header, scores, shown)


def _reals_of(source: Path, user: Layer, recipe: Layer, shown: Display) -> tuple[Settings, Packed]:
    """Return settings and the pack of the real images."""
    if "data.source" not in {*user.values, *recipe.values}:
        raise GanctlError(f"{plain(source)} does not say which images to compare with; add --data SOURCE")
    settings = Layers(user, recipe, begun=True).resolve()
    return settings, load_data(settings, shown.progress)


def _device(settings: Settings, user: Layer) -> torch.device:
    """Return the device that the user names; a run's own may be another machine's."""
    return devices.device(settings.train.device if "train.device" in user.values else "auto")


def _recipe_of(run: Run, user: Layer) -> Layer:
    """Return the settings of *run*; beside other data, those that were meant for its own are left out."""
    values = read_recipe(run.config).values
    if "data.source" in user.values:
        own = {"data.classes", "data.limit", "train.batch_size"}
        values = {key: value for key, value in values.items() if key not in own}
    return Layer(values)


def _form(size: int, channels: int | None, source: Path) -> dict[str, Value]:
    """Return the settings by which real images get the form of the generated ones."""
    form = {"data.size": size} | ({"data.channels": channels} if channels else {})
    return {key: Value(value, plain(source)) for key, value in form.items()}


def _form_of_folder(folder: Path, user: Layer) -> dict[str, Value]:
    """Return the size of the first image in *folder*, unless the user has said which."""
    if "data.size" in user.values:
        return {}
    dataset = Layers(_layer_of(folder), Layer()).resolve().dataset
    for record in dataset.records():
        try:
            read = dataset.read(record, 64)
            size = (Image.open(io.BytesIO(read)) if isinstance(read, bytes) else read).size
        except OSError:  # packing will say what is wrong with it
            continue
        return _form(max(min(size), 8), None, folder)
    raise GanctlError(f"{plain(folder)} holds no image that can be read")


def _layer_of(folder: Path, **form: object) -> Layer:
    values = {"data.source": str(folder.absolute())} | {f"data.{name}": value for name, value in form.items()}
    return Layer({key: Value(value, plain(folder)) for key, value in values.items()})


def _pictures(folder: Path, settings: Settings, limited: bool, shown: Display) -> _Generated:
    """Return the images in *folder*, or so many of them as were asked for."""
    form = settings.data.model_dump(include={"size", "fit", "background", "on_error"})
    own = Layers(_layer_of(folder, channels=settings.spec.channels, **form), Layer()).resolve()
    packed = load_data(own, shown.progress)
    rows = np.random.default_rng(SEED).permutation(len(packed.images))
    rows = np.sort(rows[: settings.metric.images] if limited else rows)
    given = Reals(packed.images, rows, len(packed.images), "", "")
    return _Generated(given.blocks, len(rows), {"fakes_from": "a folder of images"})


def _drawn(
    trained: weights.Trained, file: Path, settings: Settings, labels: Numbers | None, device: torch.device
) -> _Generated:
    """Return what draws the images of a generator, in the proportions of *labels* if they are of its classes."""
    data = trained.header.data
    if (data.size, data.channels) != (settings.spec.size, settings.spec.channels):
        raise GanctlError(
            f"{plain(file)} draws images of {data.size} px in {data.channels} channels, and the real ones would have "
            f"{settings.spec.size} px in {settings.spec.channels}; leave data.size and data.channels as they are"
        )
    known = labels if data.classes == settings.spec.classes else None
    count = settings.metric.images
    drawn = labels_like(known, len(data.classes), count)

    def images() -> Iterator[Pixels]:
        yield from draw_fakes(trained.network.to(device), trained.architecture.latent_dim, drawn, count)

    return _Generated(images, count, about_generator(trained.header.ema, known, len(data.classes)))


def _show(source: Path, scores: Sequence[Score], shown: Display) -> None:
    """Show the figures, and below them what they depend on."""
    shown.note(f"{plain(source)}, {scores[0].protocol['fakes']} generated images", "bold")
    shown.table(
        [
            (score.name, f"{score.value:.4g}", f"{score.floor:.4g}", "lower" if score.lower_is_better else "higher")
            for score in scores
        ],
        ("metric", "value", "real against real", "better"),
    )
    shown.note()
    protocols = [score.protocol for score in scores]
    shared = {key: value for key, value in protocols[0].items() if all(p.get(key) == value for p in protocols)}
    shown.table([("protocol", ""), *shared.items()])
    for text, names in _by_own_protocol(scores, shared):
        shown.note(f"{', '.join(names)}: {text}")


def _by_own_protocol(scores: Sequence[Score], shared: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield what is not shared by all, with the names of those that have it."""
    groups: dict[str, list[str]] = {}
    for score in scores:
        own = (f"{key} {plain(value)}" for key, value in score.protocol.items() if key not in shared)
        groups.setdefault(", ".join(own), []).append(score.name)
    yield from ((text, names) for text, names in groups.items() if text)


def _record(run: Run, header: weights.Header, scores: Sequence[Score], shown: Display) -> None:
    tables = run.tables()
    train = tables["train"]
    epoch = -(-header.step // steps_per_epoch(tables["ganctl"]["images"], train["batch_size"], train["d_steps"]))
    try:
        with run.hold(), MetricsLog(run.metrics, keep=None) as log:
            for score in scores:
                log.append(score.row(header.step, epoch, header.images))
    except InUse:
        shown.note(f"not added to {plain(run.metrics)}, for {run} is being trained", "yellow")
        return
    shown.note(f"added to {plain(run.metrics)}", "dim")
