"""``ganctl new``: what it writes installs, passes its tests and the checks, and trains, as it is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import sites
from typer.testing import CliRunner

from ganctl.cli import app

NAMES = {"architecture": "mine-net", "loss": "mine", "dataset": "mine-discs", "metric": "mine-colour"}


def new(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["new", *arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind, name in NAMES.items():
        code, output = new(kind, name, "-o", str(folder / name))
        assert code == 0, output
    return [folder / name for name in NAMES.values()]


@pytest.fixture(scope="module")
def site(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with these packages."""
    return sites.make(tmp_path_factory.mktemp("new"), packages)


def test_the_module_is_short(packages: list[Path]) -> None:
    for package in packages:
        (module,) = package.glob("ganctl_*.py")
        assert len(module.read_text().splitlines()) < 70


def test_its_tests_pass(packages: list[Path], site: Path) -> None:
    tests = [str(package / "tests") for package in packages]
    result = sites.run(site, "-q", *tests, module="pytest")
    assert result.returncode == 0, result.stdout
    assert "skipped" not in result.stdout


def test_the_checks_pass(site: Path) -> None:
    result = sites.run(site, "plugins", "--check", *NAMES.values())
    assert result.returncode == 0, result.stdout
    assert [line.split(" (")[0] for line in result.stdout.splitlines()] == [f"{k} {n}" for k, n in NAMES.items()]


def test_the_command_of_its_page_trains_with_it(packages: list[Path], site: Path) -> None:
    arguments: list[str] = []
    for package in packages:
        (line,) = (line for line in (package / "README.md").read_text().splitlines() if "ganctl train" in line)
        arguments += shlex.split(line)[2:]
    few = ["--set", "train.steps=8", "--set", "metric.images=64", "--size", "16", "--quiet"]
    result = sites.run(site, "train", *arguments, *few)
    assert result.returncode == 0, result.stderr
    assert '"name": "mine-colour"' in Path("run/metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bce", "there is a loss bce already, of ganctl"),
        ("Mine", "small letters, digits and single hyphens"),
        ("../mine", "small letters, digits and single hyphens"),
        ("my--loss", "small letters, digits and single hyphens"),
        ("1st", "small letters, digits and single hyphens"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_written(name: str, said: str) -> None:
    code, output = new("loss", name)
    assert code == 1
    assert said in " ".join(output.split())
    assert not list(Path().iterdir())


def test_a_folder_that_exists_is_left_alone() -> None:
    Path("ganctl-mine").mkdir()
    Path("ganctl-mine/notes").write_text("mine")
    code, output = new("loss", "mine")
    assert code == 1
    assert "ganctl-mine exists" in output
    assert [path.name for path in Path("ganctl-mine").iterdir()] == ["notes"]


def test_a_plugin_called_like_what_it_derives_from_has_another_class() -> None:
    assert new("loss", "loss")[0] == 0
    assert "class LossPlugin(Loss):" in Path("ganctl-loss/ganctl_loss.py").read_text()
