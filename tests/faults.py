"""Breaks trainings on purpose, goes on with them, and counts what was lost: ``python tests/faults.py``.

Each fault befalls a tiny training again and again. It is *lost* where a checkpoint that was there is not there any
more, or the run cannot be gone on with; *wrong* where its end is not, to the bit, that of a run which nothing befell,
or where ganctl printed a traceback. With ``--write`` the table goes into tests/README.md.

Trainings run in forks of this process, which has imported torch once, with one thread.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors.torch import load_file

import ganctl.commands.training  # noqa: F401 - so that the forks need not import it
from ganctl.checkpoint import KEY
from ganctl.cli import app
from ganctl.run import Run
from ganctl.weights import read

PAGE = Path(__file__).with_name("README.md")
MARKS = ("<!-- faults -->\n", "<!-- end of faults -->\n")
TRIES = 50

TINY = {
    "data.size": 16, "data.count": 48, "arch.width": 4, "arch.latent_dim": 8, "train.batch_size": 8,
    "train.epochs": 12, "train.log_every": 2, "train.precision": "fp32", "train.device": "cpu",
    "train.checkpoint_minutes": 0.002,
}  # fmt: skip
EVERYTHING = TINY | {
    "arch.d_norm": "spectral", "arch.dropout": 0.2, "arch.conditioning": "projection", "data.flip": True,
    "augment.noise": 0.1, "augment.translation": True, "augment.colour": True, "augment.cutout": True,
    "loss.label_noise": 0.1, "loss.label_smoothing": 0.1, "loss.r1_weight": 0.1, "loss.penalty_every": 2,
    "optim.g.decay": "cosine", "optim.d.decay": "linear", "optim.g.clip": 1.0, "train.d_steps": 2,
    "train.g_batch_size": 6, "train.ema": 100, "train.eval_every": 2, "train.keep_every": 4,
    "metric.name": ["swd"], "metric.images": 16,
}  # fmt: skip
"""With everything on that keeps a state, or draws random numbers."""
SUBJECTS = {
    "plain": TINY,
    "everything": EVERYTHING,
    "plain and long": TINY | {"train.epochs": 60},
    "everything and long": EVERYTHING | {"train.epochs": 40, "train.eval_every": 20, "train.keep_every": 20},
}

Prepare = Callable[[], None]
"""What a fork does before it trains."""


class Ended(NamedTuple):
    """How a fork ended: its exit code, less than zero for a signal, and what it printed."""

    code: int
    said: str


def fork(arguments: Sequence[str], cache: Path, prepare: Prepare | None = None, hit: float | None = None) -> Ended:
    """Run ganctl with *arguments* in a fork, which may *prepare* for it, and be killed after *hit* seconds."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            _be_ganctl(arguments, cache, prepare, output.fileno(), hit)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), output.read().decode(errors="replace"))


def _be_ganctl(
    arguments: Sequence[str], cache: Path, prepare: Prepare | None, output: int, hit: float | None
) -> NoReturn:
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["GANCTL_CACHE"] = str(cache)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if hit is not None:
            signal.setitimer(signal.ITIMER_REAL, hit)  # whose signal ends a process on the spot, as SIGKILL does
        if prepare:
            prepare()
        app(list(arguments))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Subject:
    """A training of certain settings, and its end where nothing befalls it."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self._number = folder, 0
        self._sets = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
        began = time.monotonic()
        self.whole, cache = self.place()
        ended = fork(self.train(self.whole), cache)
        assert ended.code == 0, ended.said
        self.seconds = time.monotonic() - began

    def place(self) -> tuple[Path, Path]:
        """Return a run folder and a cache that are not there yet."""
        self._number += 1
        return self.folder / f"run-{self._number}", self.folder / f"cache-{self._number}"

    def train(self, run: Path) -> list[str]:
        return ["train", *self._sets, "--out", str(run), "--overwrite"]

    def onward(self, run: Path) -> list[str]:
        """Return how to go on with what is left in *run*: resume it, or begin if there is no run yet."""
        return ["resume", str(run)] if (run / "config.toml").exists() else self.train(run)

    def same(self, run: Path) -> bool:
        """Whether *run* ended as the one did which nothing befell, to the bit, but for the time that it took.

        It may lack sheets, which may have gone unwritten, and have no other.
        """
        return end_of(run) == end_of(self.whole) and sheets(run).items() <= sheets(self.whole).items()


def end_of(run: Path) -> dict[str, Any]:
    """Return all that a run folder says, without times and sheets."""
    timed = ("seconds", "images_per_second")
    rows = [{key: value for key, value in row.items() if key not in timed} for row in Run(run).rows()]
    end: dict[str, Any] = {"rows": rows}
    for path in [*Run(run).saved()[-1:], *Run(run).checkpoints.glob("best*")]:
        tensors, values = read(path, KEY)
        end[path.name] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        timed = ("seconds", "log_bytes", "step_meter", "epoch_meter", "health_meter")
        end[f"{path.name} values"] = {key: value for key, value in values.items() if key not in timed}
    end["names"] = _stay(run)
    end["generator"] = (run / "generator.safetensors").read_bytes()
    assert load_file(run / "generator.safetensors")
    return end


def _stay(run: Path) -> list[str]:
    """Return the names of the checkpoints that stay however long it took: the clock asks for some in between."""
    every = tomllib.loads((run / "config.toml").read_text())["train"]["keep_every"]
    per_epoch = max(row["step"] for row in Run(run).rows() if row.get("epoch") == 1)
    steps = [(path.name, Run.step(path)) for path in Run(run).saved()]
    return [name for name, step in steps[:-1] if every and step % (every * per_epoch) == 0] + [steps[-1][0]]


def sheets(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "samples").iterdir()}


def last(run: Path) -> int:
    """Return the step of the newest checkpoint in *run* that is whole; 0 if there is none."""
    for path in reversed(Run(run).saved()):
        try:
            read(path, KEY)
        except Exception:
            continue
        return Run.step(path)
    return 0


class Count:
    """What became of the tries of one fault."""

    def __init__(self, fault: str) -> None:
        self.fault, self.tries, self.lost, self.wrong = fault, 0, 0, 0

    def hit(self, run: Path, before: int, ended: Ended) -> None:
        """Count a try, which left *run* behind; *before* is the newest checkpoint that was there."""
        self.tries += 1
        self._judge(last(run) >= before, "a checkpoint has gone", ended)
        if "Traceback" in ended.said:
            self.wrong += 1
            self._tell("a traceback", ended)

    def end(self, subject: Subject, run: Path, ended: Ended) -> None:
        """Judge how *run* ended, once it was left alone."""
        self._judge(ended.code == 0, "it did not go on", ended)
        if ended.code == 0 and not subject.same(run):
            self.wrong += 1
            self._tell("another end", ended)

    def _judge(self, well: bool, complaint: str, ended: Ended) -> None:
        if not well:
            self.lost += 1
            self._tell(complaint, ended)

    def _tell(self, complaint: str, ended: Ended) -> None:
        print(f"{self.fault}, try {self.tries}: {complaint}; exit code {ended.code}\n{ended.said}", file=sys.stderr)


def killed(count: Count, subject: Subject, tries: int, chance: random.Random) -> None:
    """Kill a training at random moments, again and again; if it should end before, then another."""
    again_and_again(count, subject, tries, lambda _: (None, chance.uniform(0, 0.15 * subject.seconds)))


def killed_at_a_file(count: Count, subject: Subject, tries: int, chance: random.Random) -> None:
    """Kill trainings just before they open, rename or remove their hundredth file, or some other."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    again_and_again(count, subject, tries, lambda folders: (at_file(chance.randrange(60), folders, end), None))


def again_and_again(
    count: Count, subject: Subject, tries: int, how: Callable[[Sequence[Path]], tuple[Prepare | None, float | None]]
) -> None:
    """Have trainings in certain folders be killed *how* it says, until there were *tries*, and see them end."""
    while count.tries < tries:
        run, cache = subject.place()
        ended = Ended(-signal.SIGKILL, "")
        while ended.code < 0 and count.tries < tries:
            before = last(run)
            ended = fork(subject.onward(run), cache, *how((run, cache)))
            if ended.code < 0:
                count.hit(run, before, ended)
        count.end(subject, run, fork(subject.onward(run), cache) if ended.code < 0 else ended)
        clear(run, cache)


def refused(count: Count, subject: Subject, tries: int, chance: random.Random) -> None:
    """Have the system refuse to open, rename or remove a file from some moment on."""
    numbers = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
    for number in range(tries):
        run, cache = subject.place()
        code = numbers[number % len(numbers)]

        def refuse(code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        ended = fork(subject.train(run), cache, at_file(chance.randrange(160), (run, cache), refuse, onward=True))
        count.hit(run, 0, ended)
        count.end(subject, run, fork(subject.onward(run), cache))
        clear(run, cache)


def at_file(number: int, folders: Sequence[Path], act: Callable[[], None], onward: bool = False) -> Prepare:
    """Return what makes a process *act* before operation *number* on files in *folders*, or from it *onward*."""

    def prepare() -> None:
        left = number

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event not in ("open", "os.rename", "os.remove", "os.mkdir") or not isinstance(arguments[0], str | Path):
                return
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
            if any(str(arguments[0]).startswith(str(folder)) for folder in folders):
                left -= 1
                if left == -1 or (left < 0 and onward):
                    act()

        sys.addaudithook(hook)

    return prepare


def too_large(count: Count, subject: Subject, tries: int, chance: random.Random) -> None:
    """Have the system write no more than so many bytes into a file, as under a quota."""
    largest = max(path.stat().st_size for path in subject.whole.rglob("*") if path.is_file())
    for _ in range(tries):
        run, cache = subject.place()
        limit = chance.randrange(largest)

        def prepare(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        count.hit(run, 0, fork(subject.train(run), cache, prepare))
        count.end(subject, run, fork(subject.onward(run), cache))
        clear(run, cache)


def torn(count: Count, subject: Subject, tries: int, chance: random.Random) -> None:
    """Damage the newest checkpoint of a run that has two or more, and go on from what is left."""
    start, cache = subject.place()
    while len(Run(start).saved()) < 2:
        clear(start)
        fork(subject.train(start), cache, hit=chance.uniform(0.5, 0.9) * subject.seconds)
    for number in range(tries):
        run, _ = subject.place()
        shutil.copytree(start, run)
        newest, before = Run(run).saved()[-1], Run(run).saved()[-2]
        content = bytearray(newest.read_bytes())
        place = chance.randrange(len(content))
        match number % 4:
            case 0:
                del content[place:]
            case 1:
                content[place : place + 4096] = bytes(len(content[place : place + 4096]))
            case 2:
                content[place] ^= 1 << chance.randrange(8)
            case 3:
                content[:] = bytes(len(content))
        changed = bytes(content) != newest.read_bytes()
        newest.write_bytes(content)
        ended = fork(subject.onward(run), cache)
        count.hit(run, Run.step(before), ended)
        if changed and newest.name not in ended.said:
            count.wrong += 1
            print(f"the damage went unsaid: {ended.said}", file=sys.stderr)
        count.end(subject, run, ended)
        clear(run)


def signalled(count: Count, subject: Subject, tries: int, chance: random.Random) -> None:
    """Send one of the signals at a random moment of a training; only a kill may cost steps."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    for number in range(tries):
        run, cache = subject.place()
        which = numbers[number % len(numbers)]

        def prepare(which: signal.Signals = which, delay: float = chance.uniform(0, subject.seconds)) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if os.fork() == 0:
                time.sleep(delay)
                os.kill(os.getppid(), which)
                os._exit(0)

        ended = fork(subject.train(run), cache, prepare)
        told = [int(word.rstrip(";")) for line in ended.said.splitlines() if "saved at step" in line for word in
                line.split() if word.rstrip(";").isdecimal()][:1]  # fmt: skip
        count.hit(run, told[0] if told else 0, ended)
        # One that comes before ganctl could prepare for any ends a process that has not said or begun anything.
        unbegun = ended.code == -which and not ended.said and not run.exists()
        if ended.code not in (0, 128 + which) and not unbegun:
            count.wrong += 1
            print(f"{which.name} ended it with {ended.code}: {ended.said}", file=sys.stderr)
        count.end(subject, run, fork(subject.onward(run), cache))
        clear(run, cache)


def clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


FAULTS: Sequence[tuple[str, str, Callable[[Count, Subject, int, random.Random], None]]] = (
    ("killed at a random moment", "plain and long", killed),
    ("the same, with everything on", "everything and long", killed),
    ("killed before a file is opened, renamed or removed", "plain and long", killed_at_a_file),
    ("the same, with everything on", "everything and long", killed_at_a_file),
    ("newest checkpoint cut, zeroed, or a bit of it turned", "everything", torn),
    ("disk full, broken, read-only, over quota or not ours, from some file on", "everything", refused),
    ("no file may grow beyond a size", "everything", too_large),
    ("SIGINT, SIGTERM, SIGHUP or SIGUSR1 at a random moment", "everything", signalled),
)


def trials(tries: int, seed: int, folder: Path) -> Iterator[Count]:
    """Yield what became of each fault."""
    subjects = {name: Subject(folder / name, settings) for name, settings in SUBJECTS.items()}
    for number, (fault, name, befall) in enumerate(FAULTS):
        count = Count(fault)
        befall(count, subjects[name], tries, random.Random(seed + number))
        yield count


def main(tries: int, seed: int, write: bool) -> int:
    """Print the table, and put it into the page if it is to *write*; return 1 if anything was lost or wrong."""
    torch.set_num_threads(1)
    lines = ["| fault | tries | lost | wrong |\n", "|---|---:|---:|---:|\n"]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        print("".join(lines), end="", flush=True)
        for count in trials(tries, seed, Path(folder)):
            lines.append(f"| {count.fault} | {count.tries} | {count.lost} | {count.wrong} |\n")
            print(lines[-1], end="", flush=True)
            bad += count.lost + count.wrong
    if write:
        before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
        PAGE.write_text(f"{before}{MARKS[0]}{''.join(lines)}{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
    return int(bad > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=TRIES, help="at least so many of each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the table into tests/README.md")
    sys.exit(main(**vars(parser.parse_args())))
