"""A run's figures, sheets and film for TensorBoard, in RUN/tensorboard/."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from ganctl.errors import GanctlError, plain
from ganctl.video import film_run

if TYPE_CHECKING:
    from ganctl.health.watch import Event
    from ganctl.run import Run
    from ganctl.session import Verdict
    from ganctl.trainer import Report


class TensorBoard:
    """Writes what a session says of its training. Use it as a context manager: the film is written at its end."""

    def __init__(self, run: Run, step: int) -> None:
        """Go on from generator *step*: what was written of later ones is dropped, for it will come again."""
        self._run, self._step = run, step
        self._writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1 if step else None)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._film()
        self._writer.close()

    def report(self, report: Report) -> None:
        """Write the means of steps and of epochs."""
        self._step = report.step
        for kind, figures in report.rows.items():
            self._scalars(kind, figures)

    def event(self, event: Event) -> None:
        """Write a sickness that begins or ends, as text."""
        self._writer.add_text("health", plain(event.text), self._step)

    def verdict(self, verdict: Verdict) -> None:
        """Write what an evaluation found, and beside it what real images reach."""
        self._scalars("metric", {score.name: score.value for score in verdict.scores})
        self._scalars("metric of real images", {score.name: score.floor for score in verdict.scores})

    def sheet(self, sheet: Image.Image) -> None:
        """Write a sample sheet."""
        file = io.BytesIO()
        sheet.save(file, format="PNG")
        self._image("samples", file.getvalue(), sheet.size)

    def _film(self) -> None:
        """Write the sheets of the whole run as an animated picture, which TensorBoard plays."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.gif"
            try:
                film_run(self._run.path, path, fps=8, hold=1, caption=False)
            except GanctlError:  # there are no sheets yet
                return
            with Image.open(path) as film:
                size = film.size
            self._image("film", path.read_bytes(), size)

    def _scalars(self, kind: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"{kind}/{name}", value, self._step)

    def _image(self, tag: str, encoded: bytes, size: tuple[int, int]) -> None:
        image = Summary.Image(height=size[1], width=size[0], colorspace=3, encoded_image_string=encoded)
        writer = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), self._step)
