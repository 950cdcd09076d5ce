"""The command line: typer commands. What they need is imported in their bodies, so that help costs nothing."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, ParamSpec, TypeVar

import typer
from typer.models import OptionInfo

from ganctl import complete as offers
from ganctl.errors import GanctlError, plain

if TYPE_CHECKING:
    from ganctl.display import Display
    from ganctl.run import Run

app = typer.Typer(
    name="ganctl",
    help="Train generative adversarial networks on your own images, watch them learn, film it, keep the weights.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

P = ParamSpec("P")
R = TypeVar("R")


def flag(names: str, metavar: str, help: str, offer: Callable[..., list[offers.Offer]] | None = None) -> OptionInfo:
    """Return an option that is a short form of a setting; *offer* says what the shell offers as its value."""
    option: OptionInfo = typer.Option(names, metavar=metavar, help=help, autocompletion=offer)
    return option


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=offers.runs)]
RunOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|FILE", help="A run folder, or an exported .safetensors file.", autocompletion=offers.weights
    ),
]
Source = Annotated[
    str | None,
    flag("--data", "SOURCE", "A folder or zip of images, or a data set. [default: faces]", offers.data_sets),
]
Size = Annotated[int | None, typer.Option("--size", metavar="PX", help="Side of the images. [default: 64]")]
Arch = Annotated[str | None, flag("--arch", "NAME", "The architecture. [default: dcgan]", offers.architectures)]
LossName = Annotated[str | None, flag("--loss", "NAME", "The loss. [default: bce]", offers.losses)]
BatchSize = Annotated[int | None, flag("--batch-size", "N", "Real images per step. [default: 64]")]
Device = Annotated[
    str | None, flag("--device", "NAME", "auto, cpu, cuda, cuda:1 or mps. [default: auto]", offers.devices)
]
PrecisionName = Annotated[
    str | None, flag("--precision", "NAME", "auto, fp32, bf16 or fp16. [default: auto]", offers.precisions)
]
Sets = Annotated[
    list[str] | None,
    flag("--set", "KEY=VALUE", "Any other setting: --dry-run lists them; `ganctl show NAME`.", offers.settings),
]
Recipe = Annotated[
    Path | None,
    flag("--recipe", "FILE", "A TOML file of settings; a run's config.toml repeats it.", offers.recipes),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**63 - 1, metavar="N", help="The same seed draws the same images.")
]


class Figures(StrEnum):
    """The kinds of files that figures are written to."""

    PNG = "png"
    SVG = "svg"


class WrongUsage(GanctlError):
    """Options that do not go together."""

    exit_code = 2


class Terminated(BaseException):
    """A signal to end came while there was nothing to save; its number is the argument."""


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into one line and an exit code; a bug keeps its traceback, with a line of blame."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        _prepare_for_signals()
        try:
            return command(*args, **kwargs)
        except GanctlError as error:
            _complain(plain(error))
            code = error.exit_code
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except Terminated as error:
            code = 128 + error.args[0]
        except BrokenPipeError:
            # Whoever read our output has gone, as in `ganctl plugins | head`; the interpreter would complain again.
            sys.stdout = None
            code = 1
        except OSError as error:
            where = f" ({plain(error.filename)})" if error.filename else ""
            _complain(f"{plain(error.strerror or error)}{where}")
            code = 1
        except Exception as error:
            from ganctl.blame import owner_of

            sys.excepthook(type(error), error, error.__traceback__)
            print(f"ganctl: this is a bug in {owner_of(error)}; please report it with the lines above", file=sys.stderr)
            code = 1
        finally:
            offers.remember()
        raise SystemExit(code)

    return wrapper


def _complain(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(f"ganctl: {text}", file=sys.stderr)


def _prepare_for_signals() -> None:
    """Have signals to end end the command in order. What asks to save is ignored while there is nothing to save."""
    for name, handler in (("SIGTERM", _terminate), ("SIGHUP", _terminate), ("SIGUSR1", _go_on)):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _go_on(number: int, frame: object) -> None:
    pass


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated(number)


def display(quiet: bool = False, preview: bool = False) -> Display:
    """Return what shows a command's work."""
    from ganctl.display import display

    return display(quiet, preview)


def _version(wanted: bool) -> None:
    if wanted:
        from ganctl import __version__

        print(f"ganctl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
@guarded
def train(
    data: Source = None,
    arch: Arch = None,
    loss: LossName = None,
    size: Size = None,
    epochs: Annotated[
        int | None, flag("--epochs", "N", "Passes over the images. [default: what suits their number]")
    ] = None,
    batch_size: BatchSize = None,
    seed: Annotated[int | None, flag("--seed", "N", "Of everything random. [default: 0]")] = None,
    device: Device = None,
    precision: PrecisionName = None,
    recipe: Recipe = None,
    sets: Sets = None,
    init: Annotated[
        str | None, flag("--init", "RUN|FILE", "Start from the weights of a run or a file.", offers.weights)
    ] = None,
    out: Annotated[Path | None, flag("--out", "RUN", "The run folder to make. [default: run, then run-2, ...]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run folder that --out names.")] = False,
    eval_every: Annotated[
        int | None, flag("--eval-every", "N", "Epochs per evaluation by metrics. [default: none]")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the newest samples in the terminal.")] = False,
    log: Annotated[str | None, flag("--log", "tensorboard", "Write for TensorBoard, too.", offers.logs)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show settings, networks and cost; train nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a GAN. Without options: a DCGAN, with BCE, on faces that ganctl draws itself."""
    from ganctl import memory

    memory.keep()
    from ganctl.commands import training
    from ganctl.resolve import Layer, read_recipe
    from ganctl.run import check_out

    values = _layer(
        sets,
        _common(data, arch, loss, size, batch_size, device, precision)
        | {
            "train.epochs": ("--epochs", epochs),
            "train.seed": ("--seed", seed),
            "train.init": ("--init", init),
            "train.eval_every": ("--eval-every", eval_every),
            "train.log": ("--log", log),
        },
    )
    base = read_recipe(recipe) if recipe else Layer()
    check_out(out, overwrite)
    with display(quiet, preview) as shown:
        if dry_run:
            training.dry_run(values, base, shown)
        else:
            _finish(training.train(values, base, out, overwrite, shown))


@app.command()
@guarded
def resume(
    run: RunFolder,
    epochs: Annotated[int | None, flag("--epochs", "N", "The new total. [default: as it was]")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on though its images have changed.")] = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run from its last checkpoint, exactly as if it had never stopped."""
    from ganctl import memory

    memory.keep()
    from ganctl.commands import training
    from ganctl.run import open_run

    opened = open_run(run)
    with display(quiet) as shown:
        _finish(training.resume(opened, _layer(None, {"train.epochs": ("--epochs", epochs)}), shown, anyway))


@app.command()
@guarded
def video(
    run: RunFolder,
    output: Annotated[Path | None, flag("-o", "FILE", ".mp4, .gif or .webm. [default: RUN/video.mp4]")] = None,
    fps: Annotated[float, typer.Option(min=1, max=120, metavar="N", help="Frames per second.")] = 24,
    hold: Annotated[int | None, flag("--hold", "N", "Frames per sheet. [default: for a film of about 8 s]")] = None,
    caption: Annotated[bool, typer.Option(help="Write epoch and losses below the picture.")] = False,
    quiet: Quiet = False,
) -> None:
    """Film how a run's samples changed, epoch by epoch."""
    from ganctl.run import open_run
    from ganctl.video import film_run

    if (run / "config.toml").exists():
        open_run(run)
    with display(quiet) as shown:
        film = film_run(
            run, output, fps=fps, hold=hold, caption=caption, progress=functools.partial(shown.progress, "filming")
        )
        for skipped in film.skipped:
            shown.note(f"left out: {plain(skipped)}", style="yellow")
        shown.note(f"{plain(film.path)}: {film.images} sheets, {film.frames} frames, {film.seconds:.1f} s")


@app.command()
@guarded
def sample(
    source: RunOrFile,
    count: Annotated[
        int | None, typer.Option("-n", min=1, max=100_000, metavar="N", help="How many images. [default: 64]")
    ] = None,
    seed: Seed = 0,
    label: Annotated[str | None, flag("--label", "NAME|K", "Draw this class only.")] = None,
    truncation: Annotated[
        float | None, typer.Option(min=0.01, metavar="T", help="Redraw latents beyond T: fewer failures, less variety.")
    ] = None,
    output: Annotated[Path | None, flag("-o", "FILE.png|FOLDER/", "[default: sample.png beside the weights]")] = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw new images from a run, or from exported weights alone."""
    from ganctl.commands import drawing

    with display(quiet) as shown:
        drawing.sample(source, count, seed, label, truncation, output, shown)


@app.command()
@guarded
def walk(
    source: RunOrFile,
    output: Annotated[Path | None, flag("-o", "FILE", ".mp4, .gif, .webm. [default: walk.mp4 beside it]")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, metavar="S", help="Length of the film.")] = 8,
    seed: Seed = 0,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME|K", help="Stay in this class; given twice or more, walk between them."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Film a walk through the latent space, which ends where it began."""
    from ganctl.commands import drawing

    with display(quiet) as shown:
        drawing.walk(source, output, seconds, seed, label or [], shown)


@app.command()
@guarded
def export(
    run: RunFolder,
    output: Annotated[Path | None, flag("-o", "FILE", "Where to. [default: RUN/generator.safetensors]")] = None,
    checkpoint: Annotated[
        str, flag("--checkpoint", "best|last|STEP", "Which checkpoint.", offers.checkpoints)
    ] = "last",
    ema: Annotated[bool | None, typer.Option("--ema/--no-ema", help="Averaged weights, or last ones.")] = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write a run's generator to one file that is usable alone."""
    from ganctl.commands import drawing
    from ganctl.run import open_run

    opened = open_run(run)
    with display(quiet) as shown:
        drawing.export(opened, output, checkpoint, ema, shown)


@app.command()
@guarded
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="A run folder, or several to compare.", autocompletion=offers.runs),
    ],
    epoch: Annotated[int | None, flag("--epoch", "N", "Draw what happened within this epoch, and its images.")] = None,
    output: Annotated[Path | None, flag("-o", "FOLDER", "Where to. [default: RUN/plots, or plots for several]")] = None,
    form: Annotated[Figures | None, flag("--format", "png|svg", "Which files. [default: both]")] = None,
    quiet: Quiet = False,
) -> None:
    """Draw losses, scores, accuracy, metrics, and the first kernels of the discriminator."""
    with _extra("plot", "matplotlib"):
        from ganctl.plot import plot as draw
    from ganctl.run import open_run

    forms = [form] if form else list(Figures)
    opened: dict[Path, Run] = {}
    for path in runs:
        opened.setdefault(path.resolve(), open_run(path))
    if epoch is not None and len(opened) > 1:
        raise WrongUsage(f"--epoch shows one run, and these are {len(opened)}; name one of them")
    with display(quiet) as shown:
        drawn = draw(list(opened.values()), output, epoch, [form.value for form in forms])
        for note in drawn.notes:
            shown.note(note, style="yellow")
        shown.note(f"{plain(drawn.folder)}/: {', '.join(drawn.figures)}, as {' and '.join(forms)}")


@app.command()
@guarded
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="A run folder, or several, or folders of them.", autocompletion=offers.runs),
    ],
    output: Annotated[
        Path | None, flag("-o", "FILE", "Where to. [default: RUN/report.html, or report.html for several]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Put all of a run on one page that opens in any browser, offline; or several runs side by side."""
    from ganctl.commands import reporting

    with display(quiet) as shown:
        reporting.report(runs, output, shown)


@app.command()
@guarded
def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="SWEEP.toml", help="What to try; examples/sweeps/ has some.", autocompletion=offers.recipes
        ),
    ],
    out: Annotated[
        Path | None, flag("--out", "FOLDER", "The folder of the trials' run folders. [default: SWEEP]")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Trials at a time. [default: the file's, or 1]")
    ] = None,
    data: Source = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Train every variant that a file lists. Given again, go on with what is not done."""
    from ganctl.commands import sweeping
    from ganctl.sweep import read_sweep

    plan = read_sweep(file, _layer(sets, {"data.source": ("--data", data)}))
    with display(quiet) as shown:
        raise SystemExit(sweeping.sweep(plan, out or Path(file.stem), jobs or plan.jobs, part_of_a_sweep, shown))


@guarded
def part_of_a_sweep(prepare: Callable[[], None], task: Callable[[Display], int]) -> None:
    """Be a process that a sweep has started."""
    prepare()
    with display() as shown:
        _finish(task(shown))


@app.command()
@guarded
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run folders, or folders of them.", autocompletion=offers.runs),
    ],
    json: Annotated[bool, typer.Option("--json", help="As JSON: a list of objects, one a run.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV: a row a run.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table: a column a run.")] = False,
    output: Annotated[
        Path | None, flag("-o", "FILE", "Write to a file: .json, .csv or .md, unless said otherwise.")
    ] = None,
) -> None:
    """Put runs side by side: the settings in which they differ, and what came of it."""
    from ganctl import compare, files

    chosen = [form for form, wanted in (("json", json), ("csv", csv), ("md", markdown)) if wanted]
    if len(chosen) > 1:
        raise WrongUsage("choose one of --json, --csv and --markdown")
    form = chosen[0] if chosen else compare.form_of(output) if output else None
    columns, refused = compare.compare(compare.find_runs(runs))
    if output and form:
        files.write(output, compare.FORMS[form](columns).encode())
    elif form:
        sys.stdout.write(compare.FORMS[form](columns))
    else:
        with display() as shown:
            for header, *rows in compare.fitting(compare.table(columns)):
                shown.table(rows, header)
                shown.note()
            shown.note(compare.NOTE)
            for line in refused:
                shown.note(line, "yellow")
        return
    for line in refused:
        print(f"ganctl: {line}", file=sys.stderr)


@app.command()
@guarded
def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE|FOLDER",
            help="A run, exported weights, or a folder of images.",
            autocompletion=offers.weights,
        ),
    ],
    data: Annotated[
        str | None,
        flag("--data", "SOURCE", "The real images. [default: those that the run was trained on]", offers.data_sets),
    ] = None,
    metrics: Annotated[
        list[str] | None, flag("--metric", "NAME", "May be repeated. [default: the run's]", offers.metrics)
    ] = None,
    images: Annotated[
        int | None, flag("--images", "N", "Generated images. [default: 2000, or all that are in the folder]")
    ] = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Judge generated images by metrics, beside real ones. What is found of a run is added to its metrics.jsonl."""
    from ganctl.commands import evaluating

    values = _layer(
        sets,
        {
            "data.source": ("--data", data),
            "metric.name": ("--metric", metrics or None),
            "metric.images": ("--images", images),
        },
    )
    with display(quiet) as shown:
        evaluating.evaluate(source, values, shown)


@app.command()
@guarded
def probe(
    run: RunFolder,
    layer: Annotated[str | None, flag("--layer", "NAME", "This layer alone. [default: each, and all together]")] = None,
    images: Annotated[int, typer.Option(min=10, max=100_000, metavar="N", help="How many, and as many fakes.")] = 2000,
    data: Annotated[
        str | None, flag("--data", "SOURCE", "The real images. [default: those of the run]", offers.data_sets)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Of what is drawn and held out.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Try how well a run's discriminator tells classes, and real from fake, against raw pixels and KNN."""
    with _extra("probe", "sklearn", "scikit-learn"):
        from ganctl.commands import probing
    from ganctl.run import open_run

    opened = open_run(run)
    with display(quiet=as_json) as shown:
        found = probing.probe(opened, layer, images, data, seed, shown)
    if as_json:
        print(found)


@app.command()
@guarded
def bench(
    data: Source = None,
    arch: Arch = None,
    loss: LossName = None,
    size: Size = None,
    batch_size: BatchSize = None,
    device: Device = None,
    precision: PrecisionName = None,
    recipe: Recipe = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how fast this machine is, and how near to its limits each stage of a training comes."""
    from ganctl import memory

    memory.keep()
    from ganctl.commands import benching
    from ganctl.resolve import Layer, read_recipe

    values = _layer(sets, _common(data, arch, loss, size, batch_size, device, precision))
    with display(quiet=as_json) as shown:
        found = benching.measure(values, read_recipe(recipe) if recipe else Layer(), shown)
        benching.show(found, shown)
    if as_json:
        print(benching.as_json(found))


@app.command()
@guarded
def plugins(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|KIND:NAME]...", help="Only these plugins.", autocompletion=offers.plugins),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Load and test each.")] = False,
) -> None:
    """List the installed plugins, and the packages they come from."""
    from ganctl import registry

    with display() as shown:
        found = registry.named(names) if names else registry.entries()
        if check:
            from ganctl.commands import looking

            raise SystemExit(looking.check_plugins(found, shown))
        taken = set(registry.duplicates())
        rows = [(e.kind, e.name, e.owner, "this name is registered twice" if e in taken else "") for e in found]
        shown.table(rows)


@app.command()
@guarded
def new(
    kind: Annotated[
        Literal["architecture", "loss", "dataset", "metric"],
        typer.Argument(metavar="KIND", help="architecture, loss, dataset or metric."),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users will type; the package is ganctl-NAME.")],
    output: Annotated[Path | None, flag("-o", "FOLDER", "Where to. [default: ganctl-NAME]")] = None,
) -> None:
    """Write a plugin package to begin with: it installs, passes its tests and trains as it is."""
    from ganctl.commands import beginning

    with display() as shown:
        beginning.begin(kind, name, output, shown)


@app.command()
@guarded
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|KIND:NAME", help="A plugin.", autocompletion=offers.plugins)],
) -> None:
    """Show a plugin's documentation and options."""
    from ganctl.commands import looking

    with display() as shown:
        looking.show(name, shown)


@data_app.command("check")
@guarded
def data_check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A folder or zip of images, or a data set's name.", autocompletion=offers.data_sets
        ),
    ],
    output: Annotated[
        Path | None, flag("-o", "GRID.png", "Write a sheet of the images as the networks see them.")
    ] = None,
    size: Size = None,
    sets: Sets = None,
) -> None:
    """Say what is in a data set, what is broken, and what ganctl would do with it."""
    from ganctl.commands import looking

    with display() as shown:
        looking.check_data(
            _layer(sets, {"data.source": ("SOURCE", source), "data.size": ("--size", size)}), output, shown
        )


@contextmanager
def _extra(command: str, module: str, package: str | None = None) -> Iterator[None]:
    """Say how to install the extra that *command* needs, where *module*, which *package* has, cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module:
            raise
        raise GanctlError(f"ganctl {command} needs {package or module}: pip install 'ganctl[{command}]'") from error


def _common(
    data: str | None,
    arch: str | None,
    loss: str | None,
    size: int | None,
    batch_size: int | None,
    device: str | None,
    precision: str | None,
) -> dict[str, tuple[str, object]]:
    """Return the settings, with their flags, of whatever trains."""
    return {
        "data.source": ("--data", data),
        "arch.name": ("--arch", arch),
        "loss.name": ("--loss", loss),
        "data.size": ("--size", size),
        "train.batch_size": ("--batch-size", batch_size),
        "train.device": ("--device", device),
        "train.precision": ("--precision", precision),
    }


def _layer(sets: list[str] | None, flags: dict[str, tuple[str, object]]):  # type: ignore[no-untyped-def]
    """Return the user's layer of settings. A flag outdoes a ``--set`` of the same key."""
    from ganctl.resolve import Layer, Value, parse_set

    values = dict(parse_set(text) for text in sets or [])
    return Layer(values | {key: Value(value, name) for key, (name, value) in flags.items() if value is not None})


def _finish(number: int) -> None:
    """End with the exit code of the signal *number* that ended the work, if one did."""
    if number:
        raise SystemExit(128 + number)


def main() -> None:
    """Run ganctl."""
    offers.prepare(os.environ)
    app()


if __name__ == "__main__":
    main()
