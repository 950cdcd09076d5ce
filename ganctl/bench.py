"""What this machine can do at best, and how near to that each stage of a training comes."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ganctl import __version__, checkpoint, sampling
from ganctl.api import Dataset, Progress, Record
from ganctl.assemble import target
from ganctl.data.cache import cache_folder
from ganctl.data.decode import BrokenImage, Target, decode
from ganctl.data.pack import Packed, fetch
from ganctl.data.parallel import cores, in_parallel
from ganctl.precision import DTYPES, processor
from ganctl.session import kept
from ganctl.trainer import Trainer
from ganctl.video import film_run, write_film

SECONDS = 2.0
"""For which each figure is measured, at least."""
SHEETS = 200
"""In the film that is made."""
RECORDS = 4000
"""Images that are decoded, at most."""
_BIG = 256 << 20


class Ceilings(NamedTuple):
    """What the machine can do at best, by itself."""

    convolution: dict[str, float]
    """GFLOP/s of the best of a few large convolutions, by precision."""
    memory: float
    """GB/s, read and written, when memory is copied."""
    disk: float
    """MB/s, of a file that is written and safe on the disk."""


class Stage(NamedTuple):
    """One stage of a training."""

    name: str
    rate: float
    unit: str
    limit: float
    """What the rate could be, in the same unit, by what bounds it."""
    bound: str
    """What that is, in words."""

    @property
    def share(self) -> float:
        """How much of the limit is reached."""
        return self.rate / self.limit


class Bench(NamedTuple):
    """All that was measured."""

    machine: dict[str, Any]
    ceilings: Ceilings
    gflop: float
    """Arithmetic of one step, in 10^9 operations: of convolutions and matrix products, backward passes included."""
    waiting: float
    """The share of a step for which it waits for its real images."""
    stages: list[Stage]

    def plain(self) -> dict[str, Any]:
        """Return it in types that JSON knows."""
        stages = [stage._asdict() | {"share": stage.share} for stage in self.stages]
        return self._asdict() | {"ceilings": self.ceilings._asdict(), "stages": stages}


def bench(trainer: Trainer, packed: Packed, progress: Progress) -> Bench:
    """Measure the machine, and *trainer*, whose images are *packed*. *progress* is told what is measured."""
    precision = str(trainer.settings.train.precision)

    def tell(what: str) -> None:
        progress(f"measuring {what}", 0, None)

    tell("convolutions")
    convolution = {name: _convolution(trainer.device, DTYPES[name]) for name in dict.fromkeys(("fp32", precision))}
    tell("memory and disk")
    cache_folder().mkdir(parents=True, exist_ok=True)
    ceilings = Ceilings(convolution, _memory(), _disk(cache_folder()))
    stages: list[Stage] = []
    tell("pack")
    stages.append(_pack(trainer.settings.dataset, target(trainer.settings)))
    tell("step")
    steps = trainer.run()
    next(steps)
    with FlopCounterMode(display=False) as counter:
        next(steps)
    gflop = counter.get_total_flops() / 1e9
    shown = trainer.settings.train.batch_size * trainer.settings.train.d_steps
    seconds = _seconds(lambda: next(steps), trainer.device)
    batch = trainer.settings.train.batch_size
    places = count(trainer.images, batch)  # never the same images, which would be in the processor's cache
    gathering = _seconds(lambda: trainer.batches.at(next(places), batch), trainer.device)
    stages.append(_batch(packed, batch, gathering, ceilings))
    best = ceilings.convolution[precision]
    stages.append(Stage("step", shown / seconds, "images/s", shown * best / gflop, f"convolutions in {precision}"))
    tell("sample")
    stages.append(_sample(trainer))
    tell("evaluate")
    stages += _evaluate(trainer, packed, ceilings)
    tell("checkpoint")
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        path = Path(folder, "checkpoint")
        took = _seconds(lambda: checkpoint.save(path, trainer, 0))
        stages.append(Stage("checkpoint", path.stat().st_size / took / 1e6, "MB/s", ceilings.disk, "the disk"))
        tell("video")
        stages.append(_video(Path(folder), trainer.settings.spec.size))
    waiting = gathering * trainer.settings.train.d_steps / seconds
    return Bench(_machine(trainer, precision), ceilings, gflop, waiting, stages)


def _machine(trainer: Trainer, precision: str) -> dict[str, Any]:
    settings = trainer.settings
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(trainer.device),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "ganctl": __version__,
        "architecture": settings.entries["arch"].name,
        "loss": settings.entries["loss"].name,
        "size": settings.spec.size,
        "batch": settings.train.batch_size,
        "precision": precision,
    }


def _seconds(task: Callable[[], object], device: torch.device | None = None, least: float = SECONDS) -> float:
    """Return the median seconds that *task* takes, which is done for *least* seconds and three times at least."""

    def wait() -> None:
        if device and device.type != "cpu":
            torch.accelerator.synchronize()

    task()
    wait()
    took: list[float] = []
    begun = time.perf_counter()
    while len(took) < 3 or time.perf_counter() - begun < least:
        start = time.perf_counter()
        task()
        wait()
        took.append(time.perf_counter() - start)
    return median(took)


def _convolution(device: torch.device, dtype: torch.dtype) -> float:
    """Return the GFLOP/s of the best of a few convolutions such as large networks are made of."""
    best = 0.0
    for width, side in ((128, 32), (256, 16), (512, 8)):
        weight = torch.randn(width, width, 3, 3, device=device, dtype=dtype)
        images = torch.randn(64, width, side, side, device=device, dtype=dtype)
        images, weight = (t.to(memory_format=torch.channels_last) for t in (images, weight))
        with torch.inference_mode():
            seconds = _seconds(partial(nn.functional.conv2d, images, weight, padding=1), device, SECONDS / 3)
        best = max(best, 2 * 9 * 64 * (width * side) ** 2 / seconds / 1e9)
    return best


def _memory() -> float:
    source, copy = (torch.ones(_BIG, dtype=torch.uint8) for _ in range(2))
    return 2 * _BIG / _seconds(lambda: copy.copy_(source)) / 1e9


def _disk(folder: Path) -> float:
    data = os.urandom(1 << 20) * 64

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    with tempfile.TemporaryDirectory(dir=folder) as name:
        return len(data) / _seconds(partial(write, Path(name, "file"))) / 1e6


def _decode(dataset: Dataset, form: Target, start: int, records: Sequence[Record]) -> tuple[int, float]:
    """Decode *records*, and return how many there are, and for how many seconds a core was busy with it."""
    busy = time.thread_time()
    for record in records:
        try:
            decode(fetch(dataset, record, form.size), form)
        except BrokenImage:
            continue
    return len(records), time.thread_time() - busy


def _pack(dataset: Dataset, form: Target) -> Stage:
    records = dataset.records()
    some = islice(records, RECORDS) if isinstance(records, Iterator) else records[:RECORDS]
    begun = time.perf_counter()
    task = partial(_decode, dataset, form)
    done = in_parallel(task, some, chunk=64, workers=None, progress=lambda *_: None)
    seconds = time.perf_counter() - begun
    images, busy = map(sum, zip(*done, strict=True))
    return Stage("pack", images / seconds, "images/s", cores() * images / busy, f"{cores()} cores, decoding")


def _batch(packed: Packed, images: int, seconds: float, ceilings: Ceilings) -> Stage:
    # A byte is read and a float32 written, however often that is touched again in the processor's cache.
    limit = ceilings.memory * 1e9 / (packed.images[0].nbytes * (1 + 4))
    return Stage("batch", images / seconds, "images/s", limit, "memory")


def _sample(trainer: Trainer) -> Stage:
    generator, settings = kept(trainer), trainer.settings
    classes = len(settings.spec.classes)
    points = sampling.latents(0, 4 * sampling.BATCH, settings.architecture.latent_dim)
    labels = torch.arange(len(points)) % classes if classes else None
    few = points[: sampling.BATCH].to(trainer.device), None if labels is None else labels[: sampling.BATCH]
    on_device = few[0], None if few[1] is None else few[1].to(trainer.device)

    def bare() -> None:
        with torch.inference_mode():
            generator.eval()(*on_device)

    limit = sampling.BATCH / _seconds(bare, trainer.device)
    seconds = _seconds(lambda: list(sampling.draw(generator, points, labels)), trainer.device)
    return Stage("sample", len(points) / seconds, "images/s", limit, "the bare generator")


def _evaluate(trainer: Trainer, packed: Packed, ceilings: Ceilings) -> Iterator[Stage]:
    """Yield what is known of the features that the first metric compares, if it compares some."""
    extractor = trainer.settings.metrics[0].extractor()
    if extractor is None:
        return
    look = extractor.load(trainer.device, lambda *_: None)
    pixels = torch.from_numpy(np.array(packed.images[: extractor.batch])).permute(0, 3, 1, 2)

    def features() -> Tensor:
        with torch.inference_mode():
            return look(pixels.to(trainer.device)).cpu()

    with FlopCounterMode(display=False) as counter:
        features()
    limit = len(pixels) * ceilings.convolution["fp32"] / (counter.get_total_flops() / 1e9)
    rate = len(pixels) / _seconds(features, trainer.device)
    yield Stage("evaluate", rate, "images/s", limit, "convolutions in fp32")


def _video(folder: Path, size: int) -> Stage:
    """Film sheets of 8 by 8 images that are mostly noise, which is the hardest to encode."""
    (folder / "samples").mkdir()
    random = np.random.default_rng(0)
    side = 8 * size
    coarse = random.integers(0, 256, (SHEETS, side // 4, side // 4, 3), np.uint8)
    sheets: list[NDArray[np.uint8]] = [sheet.repeat(4, 0).repeat(4, 1) for sheet in coarse]
    for number, sheet in enumerate(sheets):
        Image.fromarray(sheet).save(folder / "samples" / f"epoch-{number:04d}.png", compress_level=1)
    encoding = _once(lambda: write_film(folder / "bare.mp4", sheets, fps=24, size=(side, side)))
    filming = _once(lambda: film_run(folder, folder / "film.mp4", hold=1, caption=False))
    return Stage("video", SHEETS / filming, "sheets/s", SHEETS / encoding, "the encoder")


def _once(task: Callable[[], object]) -> float:
    begun = time.perf_counter()
    task()
    return time.perf_counter() - begun
