"""All that is shown: rich on a terminal and in notebooks, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ganctl.errors import plain

if TYPE_CHECKING:
    from PIL.Image import Image

    from ganctl.health.watch import Event
    from ganctl.session import Verdict
    from ganctl.trainer import Report

REFRESH_SECONDS = 0.5
"""Between looks at the running means, each of which waits for the device."""

ROOM = 6
"""Lines of the window that a picture leaves to bars, figures, and the last of what was said."""

FIGURES = (
    ("loss_g", "G", ".3f"),
    ("loss_d", "D", ".3f"),
    ("score_real", "D(x)", ".2f"),
    ("score_fake", "D(G(z))", ".2f"),
    ("images_per_second", "img/s", ".0f"),
)
"""What a line about training shows of the figures: key, label, format."""


def clock(seconds: float) -> str:
    """Return a duration as 0:42, 12:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figures_line(figures: Mapping[str, float]) -> str:
    """Return losses, scores and speed in one line of fixed width."""
    return "  ".join(f"{label} {figures[key]:{form}}" for key, label, form in FIGURES if key in figures)


def display(quiet: bool = False, preview: bool = False) -> Display:
    """Return what shows a command's work on the terminal, or in the notebook, that there is."""
    return Display(Console(highlight=False, markup=False, emoji=False), quiet, preview)


class Display:
    """Shows a command's work. Use it as a context manager; nothing is shown before :meth:`note` or :meth:`progress`."""

    def __init__(self, console: Console, quiet: bool = False, preview: bool = False) -> None:
        """*preview* shows the newest sample sheet above the bars of a training."""
        self._console = console
        self._preview = preview
        self._quiet = quiet
        self._live = not quiet and console.is_terminal
        self._stage: tuple[Progress, TaskID, str] | None = None
        self._training: _TrainingView | None = None
        self._epochs = 0
        """Of the training that is shown; 0 while there is none."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_stage()
        self.trained()

    def note(self, text: object = "", style: str = "") -> None:
        """Show a line. What it says is never taken for markup."""
        if not self._quiet:
            self._console.print(Text(str(text), style=style), soft_wrap=True)

    def table(self, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Show rows in columns."""
        if self._quiet:
            return
        table = Table(*header, box=None, show_header=bool(header), pad_edge=False)
        cells = [[Text(plain(cell), overflow="fold") for cell in row] for row in rows]
        for row in cells:
            table.add_row(*row)
        self._console.print(table)

    def progress(self, what: str, done: int, total: int | None) -> None:
        """Show how far a stage has come: a bar on a terminal, elsewhere one line when it begins."""
        if self._quiet:
            return
        if self._stage is None or self._stage[2] != what:
            self._end_stage()
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            bar = Progress(*columns, console=self._console, transient=True, disable=not self._live)
            self._stage = bar, bar.add_task(what, total=total), what
            bar.start()
            if not self._live:
                self.note(f"{what}: {total}" if total else what)
        bar, task, _ = self._stage
        bar.update(task, completed=done, total=total)
        if total is not None and done >= total:
            self._end_stage()

    def training(
        self, epochs: int, steps: int, steps_per_epoch: int, done: int, peek: Callable[[], Mapping[str, float]]
    ) -> None:
        """Prepare to show a training of so many steps; *peek* gives the running means of the figures."""
        self._end_stage()
        self._epochs = epochs
        notebook = self._console.is_jupyter and not self._quiet
        if self._preview and not self._live and not notebook:
            self.note("--preview shows samples on a terminal only", "yellow")
        if self._live or notebook:
            self._training = _TrainingView(self._console, epochs, steps, steps_per_epoch, done, peek)

    def aside(self, what: str, done: int, total: int | None) -> None:
        """Show how far a stage has come that may interrupt a training: there, below its bars, or not at all."""
        if self._training:
            self._training.aside(what, done, total)
        elif not self._epochs:
            self.progress(what, done, total)

    def event(self, event: Event) -> None:
        """Show a sickness that begins or ends."""
        self.note(event.text, "yellow")

    def verdict(self, verdict: Verdict) -> None:
        """Show what an evaluation found."""
        figures = "  ".join(f"{score.name} {score.value:.4g}" for score in verdict.scores)
        first = verdict.scores[0]
        best = ", the best so far" if verdict.best else ""
        self.note(f"epoch {verdict.epoch}: {figures} ({first.floor:.4g} of real images{best})", "cyan")

    def report(self, report: Report) -> None:
        """Show what the trainer says."""
        if figures := report.rows.get("epoch"):
            number = f"epoch {report.epoch:>{len(str(self._epochs))}}/{self._epochs}"
            self.note(f"{number}  {figures_line(figures)}  {clock(report.seconds)}")
        if self._training:
            self._training.update(report)

    def sheet(self, sheet: Image) -> None:
        """Show a sample sheet, where that is wanted: in a notebook it is."""
        if (self._preview or self._console.is_jupyter) and self._training:
            self._training.preview(sheet)

    def trained(self) -> None:
        """Take down what :meth:`training` put up."""
        self._epochs = 0
        if self._training:
            self._training.stop()
            self._training = None

    def _end_stage(self) -> None:
        if self._stage:
            self._stage[0].stop()
            self._stage = None


class _Screen(Protocol):
    """Where a view is shown that changes."""

    def start(self) -> None: ...

    def update(self, view: RenderableType, *, refresh: bool = False) -> None: ...

    def stop(self) -> None: ...


class _Cell:
    """A view, and a sample sheet, below a notebook's cell. rich's own would need ipywidgets, and outlives no saving."""

    def __init__(self, view: RenderableType) -> None:
        from IPython.display import display  # which is there, or there would be no notebook

        self._display: Callable[..., Any] = display
        self._first = view
        self._view: Any = None
        self._sheet: Any = None

    def start(self) -> None:
        self._view = self._display(self._html(self._first), display_id=True)

    def update(self, view: RenderableType, *, refresh: bool = False) -> None:
        self._view.update(self._html(view))

    def sheet(self, sheet: Image) -> None:
        """Show *sheet* in place of the one before."""
        if self._sheet:
            self._sheet.update(sheet)
        else:
            self._sheet = self._display(sheet, display_id=True)

    def stop(self) -> None:
        """Leave what was shown last: it is what a saved notebook shows."""

    @staticmethod
    def _html(view: RenderableType) -> Any:
        from IPython.display import HTML

        console = Console(file=io.StringIO(), record=True, width=100, force_terminal=True, force_jupyter=False)
        console.print(view)
        form = "<pre style='line-height: normal; font-family: monospace'>{code}</pre>"
        return HTML(console.export_html(inline_styles=True, code_format=form))  # type: ignore[no-untyped-call]


class _TrainingView:
    """Two bars and a line of figures at the foot of the terminal, under the epochs' lines."""

    def __init__(
        self,
        console: Console,
        epochs: int,
        steps: int,
        steps_per_epoch: int,
        done: int,
        peek: Callable[[], Mapping[str, float]],
    ) -> None:
        self._epochs, self._steps, self._steps_per_epoch, self._peek = epochs, steps, steps_per_epoch, peek
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn(), expand=True
        )
        self._epoch = self._bars.add_task("epoch", total=steps_per_epoch)
        self._run = self._bars.add_task("steps", total=steps, completed=done)
        self._figures = Text("")
        self._looked = 0.0
        self._stage: TaskID | None = None
        self._console = console
        self._sheet: Image | None = None
        self._drawn: tuple[ConsoleDimensions, Segments] | None = None
        self._began: tuple[float, int] | None = None
        self._cell = _Cell(self._view()) if console.is_jupyter else None
        self._live: _Screen = self._cell or Live(self._view(), console=console, transient=True, refresh_per_second=4)
        self._live.start()

    def _view(self) -> RenderableType:
        below: list[RenderableType] = [self._bars, self._figures]
        return Group(*([self._picture(self._sheet)] if self._sheet else []), *below)

    def _picture(self, sheet: Image) -> RenderableType:
        """Draw *sheet* as large as the window has room for, anew where that has changed."""
        from ganctl.preview import BLOCK, cells  # which brings Pillow

        size = self._console.size
        if not self._drawn or self._drawn[0] != size:
            segments: list[Segment] = []
            for line in cells(sheet, size.width - 1, max(size.height - ROOM, 1)):
                segments += (Segment(BLOCK, Style(color=upper, bgcolor=lower)) for upper, lower in line)
                segments.append(Segment.line())
            # The terminal is refreshed several times a second, and segments cost a twentieth of a text of many colours.
            self._drawn = size, Segments(segments)
        return self._drawn[1]

    def preview(self, sheet: Image) -> None:
        """Show *sheet* from now on."""
        if self._cell:
            self._cell.sheet(sheet)
            return
        self._sheet, self._drawn = sheet, None
        self._live.update(self._view(), refresh=True)

    def update(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._looked < REFRESH_SECONDS and report.step < self._steps:
            return
        self._looked = now
        number = min(report.step // self._steps_per_epoch + 1, self._epochs)
        within = report.step - (number - 1) * self._steps_per_epoch
        self._bars.update(self._epoch, completed=within, description=f"epoch {number}/{self._epochs}")
        self._bars.update(self._run, completed=report.step)
        self._began = self._began or (now, report.images)
        if figures := dict(report.rows.get("step") or self._peek()):
            figures["images_per_second"] = (report.images - self._began[1]) / max(now - self._began[0], 1e-9)
            self._figures = Text(figures_line(figures), style="cyan", no_wrap=True)
        self._live.update(self._view())

    def aside(self, what: str, done: int, total: int | None) -> None:
        """Show a third bar, for as long as the stage takes."""
        if self._stage is None:
            self._stage = self._bars.add_task(what, total=total)
        self._bars.update(self._stage, completed=done, total=total, description=what)
        if self._cell:  # which no thread refreshes
            self._cell.update(self._view())
        if total is not None and done >= total:
            self._bars.remove_task(self._stage)
            self._stage = None

    def stop(self) -> None:
        self._live.stop()
