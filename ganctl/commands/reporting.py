"""One page about one run or several. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganctl import files
from ganctl.compare import find_runs
from ganctl.display import Display
from ganctl.errors import GanctlError, plain
from ganctl.report.page import page


def report(paths: Sequence[Path], output: Path | None, shown: Display) -> None:
    """Write the page about the runs at *paths*: by default to RUN/report.html, or to report.html for several."""
    runs = find_runs(paths)
    output = output or (runs[0].path if len(runs) == 1 else Path()) / "report.html"
    # Before all the work.
    if output.is_dir():
        raise GanctlError(f"-o {plain(output)} is a folder; name a file, such as {plain(output / 'report.html')}")
    if not output.parent.is_dir():
        raise GanctlError(f"cannot write {plain(output)}: there is no folder {plain(output.parent)}")
    made = page(runs, shown.progress)
    content = made.text.encode()
    files.write(output, content)
    for note in made.notes:
        shown.note(note, style="yellow")
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    shown.note(f"{plain(output)}: {what}, {len(content) / 1e6:.1f} MB, with everything in it; open it in a browser")
