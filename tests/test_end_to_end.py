"""The real command in a process of its own: signals, kills, and what is then found on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SHARED_DATA, ganctl

# Long enough an epoch to be hit in its middle, and quick enough to end.
TINY = ["--size", "16", "--set", "arch.width=4", "--set", "arch.latent_dim=8", "--batch-size", "8"]
LONG = [*TINY, "--set", "data.count=800", "--epochs", "3", "--set", "train.log_every=5"]


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ganctl", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_of(path: Path, process: subprocess.Popen[str]) -> Iterator[int]:
    """Yield how many rows *path* holds, again and again while *process* lives."""
    while process.poll() is None:
        yield len(path.read_bytes().splitlines()) if path.exists() else 0
        with suppress(subprocess.TimeoutExpired):  # looking without a pause would take a core from what is looked at
            process.wait(0.05)


def in_mid_epoch(process: subprocess.Popen[str], run: Path, rows: int) -> None:
    """Wait until *run* has *rows* rows of metrics: 20 steps rows and one epoch row an epoch."""
    for count in lines_of(run / "metrics.jsonl", process):
        if count >= rows:
            return
    raise AssertionError(f"the run ended before {rows} rows: {process.communicate()}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = ganctl("train", *LONG, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_end(run: Path, whole: Path) -> None:
    for name in ("generator.safetensors", "samples/epoch-0003.png", "samples/epoch-0002.png"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    counts = [len((folder / "metrics.jsonl").read_bytes().splitlines()) for folder in (run, whole)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("rows", [5, 30, 50])
def test_killed_in_mid_epoch_and_resumed_it_ends_as_if_nothing_had_been(whole: Path, rows: int) -> None:
    run = Path("run")
    process = started("train", *LONG, "--out", run)
    in_mid_epoch(process, run, rows)
    process.kill()
    process.communicate()
    assert len(list((run / "checkpoints").glob("step-*"))) == rows // 21
    resumed = ganctl("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert ("it starts over" in resumed.stdout) == (rows < 21)
    assert_same_end(run, whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_go_on_and_loses_nothing(whole: Path, number: int, code: int) -> None:
    run = Path("run")
    process = started("train", *LONG, "--out", run)
    in_mid_epoch(process, run, 27)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err == ""
    assert "ganctl resume run goes on" in out
    assert ganctl("resume", run).returncode == 0
    assert_same_end(run, whole)


def test_a_signal_before_training_leaves_nothing(cache: Path) -> None:
    before = sorted((cache / "packs").iterdir()) if (cache / "packs").exists() else []
    process = started("train", "--size", 64, "--set", "data.count=200000", *TINY[2:])
    for line in process.stdout or ():
        if line.startswith("packing"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert not os.listdir()
    assert sorted((cache / "packs").iterdir()) == before


def test_training_imports_neither_torchs_compiler_nor_torchvision() -> None:
    arguments = ["ganctl", "train", *TINY, "--set", "train.steps=1", "--set", "data.count=16", "--quiet"]
    script = f"""
import sys
from ganctl.cli import main
sys.argv = {arguments!r}
try:
    main()
finally:
    print([name for name in ("torch._dynamo", "sympy", "torchvision") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_bug_in_a_plugin_keeps_its_traceback_and_is_blamed_on_its_package(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "buggy-3.1.dist-info").mkdir(parents=True)
    (site / "buggy-3.1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: buggy\nVersion: 3.1\n")
    (site / "buggy-3.1.dist-info/entry_points.txt").write_text("[ganctl.losses]\nbuggy = buggy:Buggy\n")
    (site / "buggy.py").write_text(
        "from ganctl.losses.bce import BCE\n"
        "class Buggy(BCE):\n"
        "    'Fails once real images have been shown.'\n"
        "    api_version = 1\n"
        "    def after_discriminator_step(self, step):\n"
        "        if step.images > 8:\n"
        "            raise KeyError('a bug')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = ganctl("train", *TINY, "--set", "data.count=40", "--loss", "buggy", env=environment)
    assert done.returncode == 1
    assert "KeyError: 'a bug'" in done.stderr
    assert "this is a bug in buggy 3.1" in done.stderr


def test_a_pipe_whose_reader_has_gone_is_no_error() -> None:
    process = started("plugins")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) in (0, 1)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("anime-8k.zip", 64),
        ("mnist-test.zip", 28),
        ("emoji-twitter.zip", 32),
        ("cifar10-train.zip", 32),
        ("awkward", 48),
    ],
)
def test_real_images_train(name: str, size: int) -> None:
    source = SHARED_DATA / name
    if not source.exists():
        pytest.skip("the shared data are not here")
    done = ganctl("train", "--data", source, "--size", size, "--set", "train.steps=20", "--set", "arch.width=8")
    assert done.returncode == 0, done.stderr
    assert Path("run/samples/epoch-0001.png").exists()
