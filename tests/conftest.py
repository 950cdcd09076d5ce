"""What tests share: a cache of their own, small pictures, and ganctl's command line in this process or in another."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image, ImageDraw

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let signals reach the processes that tests start: whoever runs the tests in the background has some ignored."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep packed images in a folder of the tests' own, for this process and those that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANCTL_CACHE", str(folder))
        # Where nothing keeps bytecode, every process that a test starts would compile torch anew.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield folder


def draw(path: Path, number: int, size: int = 16, mode: str = "RGB") -> None:
    """Draw picture *number*: a disc whose place and colours depend on it."""
    image = Image.new("RGB", (size, size), (40 * number % 256, 90, 200 - 7 * number % 200))
    x = number % (size // 2)
    ImageDraw.Draw(image).ellipse((x, 2, x + size // 2, size - 3), fill=(250, 255 - 11 * number % 256, 30))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 small colour pictures in two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(24):
        draw(folder / ("discs" if number % 2 else "dots") / f"{number:02}.png", number)
    return folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test where what it leaves behind is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Iterator[object]:
    """Run ganctl's command line in this process, which saves the import of torch."""
    from ganctl.cli import app

    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    }

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        try:
            app([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Result(code, *capfd.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def ganctl(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    command = [sys.executable, "-m", "ganctl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]
