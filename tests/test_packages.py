"""ganctl works with none of the packages in plugins/, with each alone, with all, and beside one that is broken."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import sites

from ganctl import registry

PLUGINS = Path(__file__).parents[1] / "plugins"
PACKAGES = sorted(path.parent for path in PLUGINS.glob("*/pyproject.toml"))

SMALL = ["--set", "data.count=64", "--set", "arch.width=4", "--set", "train.steps=2", "--size", "32", "--quiet"]


def registered(package: Path) -> set[tuple[str, str]]:
    """Return the kinds and names that a package registers."""
    groups = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    return {(kind, name) for kind, group in registry.KINDS.items() for name in groups.get(group, ())}


def listed(site: Path) -> dict[tuple[str, str], str]:
    """Return what ``ganctl plugins`` lists: kinds and names, and the packages they are of."""
    result = sites.run(site, "plugins")
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    return {(kind, name): owner for kind, name, owner, *_ in rows}


def flags(package: Path) -> list[str]:
    """Return flags that train with all that a package registers and that needs no files."""
    names = {"architecture": "--arch", "loss": "--loss"}
    return [word for kind, name in sorted(registered(package)) if kind in names for word in (names[kind], name)]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages, and a broken one."""
    site = sites.make(tmp_path_factory.mktemp("all"), PACKAGES)
    (site / "ganctl_broken.py").write_text("import ganctl\n\nganctl.no_such_thing\n")
    info = site / "ganctl_broken-4.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ganctl-broken\nVersion: 4.2\n")
    (info / "entry_points.txt").write_text("[ganctl.losses]\nbroken = ganctl_broken:Broken\n")
    return site


def test_none(tmp_path: Path) -> None:
    site = sites.make(tmp_path)
    assert set(listed(site).values()) == {"ganctl"}
    result = sites.run(site, "train", *SMALL)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_each(package: Path, tmp_path: Path) -> None:
    site = sites.make(tmp_path, [package])
    assert {what for what, owner in listed(site).items() if owner != "ganctl"} == registered(package)
    result = sites.run(site, "train", *flags(package), *SMALL)
    assert result.returncode == 0, result.stderr


def test_all_beside_a_broken_one(everything: Path) -> None:
    of = {(kind, name): package.name for package in PACKAGES for kind, name in registered(package)}
    found = {what: owner for what, owner in listed(everything).items() if owner != "ganctl"}
    assert found == of | {("loss", "broken"): "ganctl-broken"}
    assert sites.run(everything, "--help").returncode == 0
    result = sites.run(everything, "train", *flags(PACKAGES[0]), *SMALL)
    assert result.returncode == 0, result.stderr


def test_the_broken_one_is_named_with_its_package_version_and_line(everything: Path) -> None:
    result = sites.run(everything, "train", "--loss", "broken", *SMALL)
    assert result.returncode == 1
    said = " ".join(result.stderr.split())
    assert "Traceback" not in said
    assert said.startswith("ganctl: loss 'broken' of ganctl-broken 4.2")
    assert "ganctl_broken.py, line 3" in said
