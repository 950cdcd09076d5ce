"""A run goes on from what is whole, says what is not as it was, and is told so once when the disk takes no more."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import torch
from conftest import SHARED_DATA, Result, draw, ganctl
from test_sampling import edited, exported
from toys import trainer

from ganctl import files, run, session, weights
from ganctl.errors import GanctlError
from ganctl.run import Run
from ganctl.trainer import Report

Cli = Callable[..., Result]

TINY = ["--size", "16", "--set", "arch.width=4", "--set", "arch.latent_dim=8", "--batch-size", "8"]
SHORT = [*TINY, "--set", "data.count=40", "--epochs", "3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, with two checkpoints."""
    from ganctl.cli import app

    folder = tmp_path_factory.mktemp("finished") / "r"
    with pytest.raises(SystemExit) as end:
        app(["train", *SHORT, "--out", str(folder), "--quiet"])
    assert end.value.code == 0
    return folder


@pytest.fixture
def copy(finished: Path) -> Path:
    return Path(shutil.copytree(finished, "r"))


def test_a_damaged_checkpoint_is_said_set_aside_and_the_one_before_it_gone_on_from(cli: Cli, copy: Path) -> None:
    newest, before = Run(copy).saved()[::-1]
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    whole = (copy / "generator.safetensors").read_bytes()
    result = cli("resume", copy)
    assert result.code == 0, result.err
    assert f"{newest} is damaged: its content is not what was written" in result.out
    aside = newest.with_suffix(".damaged")
    assert f"it is set aside as {aside}, and {before} is gone on from" in result.out
    assert aside.read_bytes() == content
    assert (copy / "generator.safetensors").read_bytes() == whole
    assert newest in Run(copy).saved()  # made anew


def test_where_no_checkpoint_is_whole_all_stay(cli: Cli, copy: Path) -> None:
    for path in Run(copy).saved():
        path.write_bytes(b"")
    result = cli("resume", copy)
    assert result.code == 1
    assert "no checkpoint of r can be read; ganctl train --init r begins anew from its weights" in result.err
    assert len(Run(copy).saved()) == 2


def test_other_software_is_named(cli: Cli, copy: Path) -> None:
    config = (copy / "config.toml").read_text()
    for old, new in ((f'torch = "{torch.__version__}"', 'torch = "1.0"'), ('ganctl = "', 'ganctl = "0.0.')):
        assert old in config
        config = config.replace(old, new, 1)
    (copy / "config.toml").write_text(config.replace(f"threads = {torch.get_num_threads()}\n", "threads = 99\n"))
    result = cli("resume", copy, "--epochs", 4)
    assert result.code == 0, result.err
    assert f"not to the bit as it would have: torch was 1.0 and is {torch.__version__}, threads was 99" in result.out
    assert "ganctl was 0.0." in result.out
    assert "to the bit" not in cli("resume", copy, "--epochs", 5).out  # it is told once


def test_changed_images_are_gone_on_with_only_if_asked(cli: Cli) -> None:
    for number in range(16):
        draw(Path("images") / f"{number}.png", number)
    assert cli("train", "--data", "images", *TINY, "--epochs", 1, "--out", "r").code == 0
    draw(Path("images/0.png"), 99)
    refused = cli("resume", "r", "--epochs", 2)
    assert refused.code == 1
    assert "ganctl resume RUN --anyway" in refused.err
    result = cli("resume", "r", "--epochs", 2, "--anyway")
    assert result.code == 0, result.err
    assert "the images have changed since this run began" in result.out
    assert cli("resume", "r", "--epochs", 3).code == 0  # they are its images now


def test_an_option_that_was_not_there_yet_does_not_keep_a_run_from_going_on(cli: Cli, copy: Path) -> None:
    for path in Run(copy).saved():
        tensors, values = weights.read(path, "ganctl.checkpoint")
        del values["settings"]["arch.slope"]
        weights.save(path, tensors, values, "ganctl.checkpoint")
    config = copy / "config.toml"
    config.write_text("".join(line for line in config.open() if not line.startswith("slope")))
    assert cli("resume", copy, "--epochs", 4).code == 0
    config.write_text(config.read_text().replace("slope = 0.2", "slope = 0.3"))
    assert "arch.slope was" in cli("resume", copy, "--epochs", 5).err


def test_checkpoints_of_every_so_many_epochs_are_kept(cli: Cli) -> None:
    assert cli("train", *SHORT, "--epochs", 7, "--set", "train.keep=1", "--set", "train.keep_every=3").code == 0
    assert [Run.step(path) for path in Run(Path("run")).saved()] == [15, 30, 35]


class Shows:
    """Whatever is told of a training, and what is to happen then."""

    def __init__(self, at: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.events: list[str] = []
        self._at, self._act = at, act

    def report(self, report: Report) -> None:
        if report.step == self._at:
            self._act()

    def event(self, event: object) -> None:
        self.events.append(event.text)  # type: ignore[attr-defined]

    def verdict(self, verdict: object) -> None: ...

    def sheet(self, sheet: object) -> None: ...


@pytest.fixture
def opened() -> Run:
    return run.make(Path("r"), False, "[ganctl]\nformat = 1\n")


def refuse(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Have the system refuse to write files of a *kind*."""
    write = files._sync

    def failing(path: Path, flags: int) -> None:
        if path.suffix == kind:
            raise OSError(28, os.strerror(28))
        write(path, flags)

    monkeypatch.setattr(files, "_sync", failing)


def test_a_sheet_that_cannot_be_written_is_said_once_and_costs_nothing_else(
    opened: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, ".png")
    shows = Shows()
    assert session.train(trainer(40, train__epochs=3), opened, [shows]) == 0
    (text,) = [event for event in shows.events if "sheets" in event]
    assert "cannot write r/samples/epoch-0000.png: No space left on device; training goes on" in text
    assert opened.weights.exists()
    assert not any(opened.samples.iterdir())


def test_a_checkpoint_that_cannot_be_written_ends_the_run_and_leaves_the_one_before(
    opened: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows = Shows(at=9, act=lambda: refuse(monkeypatch, ".safetensors"))
    with pytest.raises(GanctlError, match="No space left on device; r/checkpoints/step-000000005") as refusal:
        session.train(trainer(40, train__epochs=3), opened, [shows])
    assert str(refusal.value).endswith("was saved before; once it can be written, ganctl resume r goes on from it")
    assert [Run.step(path) for path in opened.saved()] == [5]
    assert weights.read(opened.saved()[0], "ganctl.checkpoint")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_what_was_trained_is_kept_when_nobody_can_be_told_any_more(opened: Run, number: int) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=os.strerror(number)):
        session.train(trainer(40, train__epochs=3), opened, [Shows(at=7, act=fail)])
    assert [Run.step(path) for path in opened.saved()] == [5, 7]


def test_usr1_saves_and_goes_on_and_hangup_saves_and_ends(opened: Run) -> None:
    shows = [Shows(7, lambda: os.kill(os.getpid(), signal.SIGUSR1)), Shows(12, lambda: signal.raise_signal(1))]
    made = trainer(40, train__epochs=3, train__keep=9)
    assert session.train(made, opened, shows) == signal.SIGHUP
    assert [Run.step(path) for path in opened.saved()] == [5, 8, 10, 13]


def test_a_hangup_that_nohup_ignores_is_ignored(opened: Run) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        shows = Shows(7, lambda: signal.raise_signal(signal.SIGHUP))
        assert session.train(trainer(40, train__epochs=2), opened, [shows]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_full_disk_below_the_output_ends_a_run_that_is_saved() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ganctl", "train", *SHORT]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.strip() == "ganctl: No space left on device"


def test_a_terminal_of_twenty_columns_is_enough() -> None:
    done = ganctl("train", *SHORT, env=os.environ | {"COLUMNS": "20", "FORCE_COLOR": "1", "TERM": "xterm"})
    assert done.returncode == 0, done.stderr
    assert "done in" in done.stdout


def test_weights_that_ask_for_more_than_they_hold_take_no_memory() -> None:
    options = {"width": 1024, "latent_dim": 4096}
    path = edited(Path("g.safetensors"), options=options, data={"size": 256, "channels": 3})
    with pytest.raises(GanctlError, match="does not fit the network"):
        weights.load(path)
    script = f"""
import resource
from pathlib import Path
from ganctl import weights
limit = 12 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    weights.load(Path({str(path)!r}))
except Exception as error:
    print(type(error).__name__)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    name, grown = done.stdout.split()
    assert name == "GanctlError"
    assert int(grown) < 200_000  # KB; the network would have 10 GB


def test_a_header_larger_than_any_of_ours_is_not_parsed() -> None:
    text = json.dumps({"__metadata__": {"ganctl": "[" + "{}," * 6_000_000 + "{}]"}}).encode()
    Path("x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(weights.Unreadable, match="its header is of 18,0"):
        weights.load(Path("x.safetensors"))


def test_weights_that_are_no_numbers_are_refused() -> None:
    tensors, about = weights.read(exported(Path("g.safetensors")))
    tensors["layers.0.weight"][0, 0] = float("nan")
    weights.save(Path("g.safetensors"), tensors, about)
    with pytest.raises(GanctlError, match="some of its weights are not finite"):
        weights.load(Path("g.safetensors"))


@pytest.mark.parametrize("command", ["sample", "walk", "evaluate", "resume", "probe", "export"])
def test_no_command_unpickles_anything(cli: Cli, copy: Path, command: str) -> None:
    import pickle

    class Mark:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (Path("MARK"),)

    for path in [*Run(copy).saved(), copy / "generator.safetensors"]:
        path.write_bytes(pickle.dumps(Mark()))
    for suffix in ("pt", "pth", "pkl", "npy", "npz", "ckpt", "bin", "safetensors"):
        Path(f"x.{suffix}").write_bytes(pickle.dumps(Mark()))
        if command in ("sample", "walk", "evaluate"):
            assert cli(command, f"x.{suffix}").code == 1
    result = cli(command, copy)
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert not Path("MARK").exists()


AWKWARD = SHARED_DATA / "awkward"


@pytest.mark.skipif(not AWKWARD.exists(), reason="the shared data are not here")
def test_awkward_images_leave_nothing_outside_the_run_and_the_cache(cli: Cli) -> None:
    before = {path: path.stat().st_mtime_ns for path in AWKWARD.rglob("*")}
    result = cli("train", "--data", AWKWARD, *TINY, "--epochs", 1)
    assert result.code == 0, result.err
    assert "Traceback" not in result.out + result.err
    assert os.listdir() == ["run"]
    assert {path: path.stat().st_mtime_ns for path in AWKWARD.rglob("*")} == before


def test_a_run_folder_of_the_first_format_still_loads(cli: Cli) -> None:
    golden = Path(__file__).with_name("golden") / "run"
    shutil.copytree(golden, "r")
    for arguments in (["sample", "r"], ["video", "r"], ["compare", "r"], ["export", "r", "--checkpoint", "best"]):
        assert cli(*arguments).code == 0, arguments
    with safetensors.safe_open("r/generator.safetensors", "pt") as file:
        assert json.loads(file.metadata()["ganctl"])["format"] == 1
    result = cli("resume", "r", "--epochs", 4, "--anyway")
    assert result.code == 0, result.err
    assert "goes on at step 4" in result.out
