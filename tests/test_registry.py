"""Names -> plugins: what is listed, what is refused, and who is blamed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganctl import registry
from ganctl.errors import GanctlError, PluginError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package that holds one module and registers ``name = module:target`` in one group."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules: list[str] = []

    def put(
        package: str, name: str, code: str, target: str = "Thing", kind: str = "loss", version: str = "1.2"
    ) -> None:
        module = package.replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{registry.KINDS[kind]}]\n{name} = {module}:{target}\n")  # type: ignore[index]
        registry.entries.cache_clear()

    yield put
    registry.entries.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


GOOD = """
    from ganctl.api import Loss

    class Thing(Loss):
        "A loss."
        api_version = 1
"""


def test_a_strangers_plugin_is_found_loaded_and_attributed(install: Install) -> None:
    install("strange-loss", "strange", GOOD)
    assert registry.load("loss", "strange").__name__ == "Thing"
    assert registry.find("loss", "strange").owner == "strange-loss 1.2"


def test_listing_imports_no_plugin(install: Install) -> None:
    install("strange-loss", "strange", "raise RuntimeError('imported')")
    assert "strange" in {entry.name for entry in registry.entries()}
    assert "strange_loss" not in sys.modules


def test_a_metric_is_told_from_what_is_none(install: Install) -> None:
    install(
        "strange-metric", "figure", "from ganctl.api import Metric\nclass Thing(Metric): api_version = 1", kind="metric"
    )
    assert registry.load("metric", "figure").__name__ == "Thing"
    install("other-metric", "other", GOOD, kind="metric")
    with pytest.raises(PluginError, match="is not a subclass of ganctl.api.Metric"):
        registry.load("metric", "other")


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all() -> None:
    with pytest.raises(GanctlError, match="did you mean 'dcgan'"):
        registry.load("architecture", "dcgna")
    with pytest.raises(GanctlError, match=r"there are: .*bce"):
        registry.load("loss", "qqqqqq")


def test_a_name_taken_twice_is_refused_with_both_owners(install: Install) -> None:
    install("one-loss", "same", GOOD, version="1.0")
    install("other-loss", "same", GOOD, version="2.0")
    with pytest.raises(PluginError, match=r"one-loss 1\.0 and other-loss 2\.0"):
        registry.load("loss", "same")
    assert {entry.package for entry in registry.duplicates()} == {"one-loss", "other-loss"}
    registry.load("loss", "bce")


def test_one_package_seen_twice_on_the_path_is_one(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("strange-loss", "strange", GOOD)
    again = tmp_path / "again"
    (tmp_path / "site").rename(again)
    (tmp_path / "site").symlink_to(again)
    monkeypatch.syspath_prepend(str(again))
    registry.entries.cache_clear()
    assert [entry.name for entry in registry.entries()].count("strange") == 1


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import nowhere_to_be_found", r"cannot be imported: ModuleNotFoundError.*strange_loss\.py, line 1\)"),
        ("x = 1\n1 / 0", r"cannot be imported: ZeroDivisionError.*strange_loss\.py, line 2\)"),
        ("x = = 1", r"cannot be imported: SyntaxError.*line 1\)"),
        ("Other = 1", r"cannot be imported: AttributeError"),
        ("Thing = 3", "is not a subclass of ganctl.api.Loss"),
        ("class Thing: pass", "is not a subclass of ganctl.api.Loss"),
        ("from ganctl.api import Loss\nclass Thing(Loss): pass", "does not state its api_version"),
        ("from ganctl.losses.bce import BCE\nclass Thing(BCE): pass", "does not state its api_version"),
        ("from ganctl.api import Loss\nclass Thing(Loss): api_version = 99", "api_version 99.*upgrade ganctl"),
        ("from ganctl.api import Loss\nclass Thing(Loss): api_version = 0", "api_version 0.*upgrade the package"),
        (
            "from ganctl.api import Loss\nclass Thing(Loss):\n    api_version = 1\n    generator_loss: int = 1",
            r"an option cannot have the name of Loss\.generator_loss\(\)",
        ),
    ],
)
def test_a_broken_plugin_costs_only_who_names_it_and_names_its_package(
    install: Install, code: str, complaint: str
) -> None:
    install("strange-loss", "strange", code)
    with pytest.raises(PluginError, match=complaint) as refusal:
        registry.load("loss", "strange")
    assert "strange-loss 1.2" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    registry.load("loss", "bce")


@pytest.mark.parametrize("command", [["--help"], ["plugins"], ["train", "--help"], ["video", "nowhere"]])
def test_light_commands_import_nothing_heavy(command: list[str]) -> None:
    code = f"""
import sys
from ganctl.cli import main
sys.argv = ["ganctl", *{command!r}]
try:
    main()
except SystemExit:
    pass
heavy = {{"torch", "torchvision", "safetensors"}} | ({{"numpy", "PIL"}} if {"video" not in command} else set())
print("HEAVY", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "HEAVY []" in done.stdout
