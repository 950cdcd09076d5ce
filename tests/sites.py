"""Environments with a choice of plugin packages, made of the one that the tests run in, without an installer."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

import ganctl
from ganctl import registry

BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


def wheel(package: Path, into: Path) -> Path:
    """Build the wheel of *package* as an installer would."""
    # Elsewhere than in the environment that is made: a plugin need not be importable to be built.
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(into)], cwd=package, check=True, capture_output=True, text=True
    )
    return into / built.stdout.split()[-1]


def make(folder: Path, packages: Iterable[Path] = ()) -> Path:
    """Make a site in *folder*: ganctl, what it needs, and *packages*, but no other plugins."""
    site = folder / "site"
    site.mkdir()
    strangers = {
        f"{distribution.metadata['Name'].replace('-', '_')}-{distribution.version}.dist-info"
        for distribution in distributions()
        if any(point.group in registry.KINDS.values() for point in distribution.entry_points)
        and distribution.metadata["Name"] != "ganctl"
    }
    for scheme in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(scheme)).iterdir():
            if path.name not in strangers and path.suffix != ".pth" and not (site / path.name).is_symlink():
                (site / path.name).symlink_to(path)
    if not (site / "ganctl").exists():  # it is installed in place
        (site / "ganctl").symlink_to(Path(ganctl.__file__).parent)
    for package in packages:
        with zipfile.ZipFile(io.BytesIO(wheel(package, folder).read_bytes())) as content:
            content.extractall(site)
    return site


def run(site: Path, *arguments: str, module: str = "ganctl") -> subprocess.CompletedProcess[str]:
    """Run ``python -m module arguments`` where there is nothing but what *site* holds."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    # -S leaves the packages of the environment that the tests run in out of sight.
    command = [sys.executable, "-S", "-m", module, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
