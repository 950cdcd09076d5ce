"""What the pages say can be done, can be done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ganctl

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "node_modules"} & set(path.parts))


def snippets(page: Path) -> dict[str, str]:
    """The page's code by the file name in its first line."""
    blocks = re.findall(r"```\w+\n# (\S+\.\w+)\n(.*?)```", page.read_text(), re.DOTALL)
    return dict(blocks)


def install(site: Path, package: str, points: dict[str, dict[str, str]]) -> None:
    """Write what an installer would write of a package's metadata."""
    info = site / f"{package.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


def test_the_plugin_pages_packages_train_and_conform(tmp_path: Path, pictures: Path) -> None:
    files = snippets(ROOT / "plugins" / "README.md")
    site = tmp_path / "site"
    project = tomllib.loads(files.pop("ganctl-bounded/pyproject.toml"))["project"]
    install(site, project["name"], project["entry-points"])
    install(site, "ganctl-tiny", {"ganctl.architectures": {"tiny": "ganctl_tiny:Tiny"}})
    install(site, "ganctl-checks", {"ganctl.datasets": {"checks": "ganctl_checks:Checks"}})
    install(site, "ganctl-brightness", {"ganctl.metrics": {"brightness": "ganctl_brightness:Brightness"}})
    for name, code in files.items():
        (site / Path(name).name).write_text(code)
    environment = os.environ | {"PYTHONPATH": str(site)}
    small = ["--data", pictures, "--size", 16, "--set", "train.steps=3", "--batch-size", 8]
    sets = ["--set", "loss.target=0.8", "--set", "arch.width=8"]
    judged = ["--eval-every", 1, "--set", "metric.name=brightness", "--set", "metric.images=8"]
    trained = ganctl("train", "--arch", "tiny", "--loss", "bounded", *sets, *judged, *small, env=environment)
    assert trained.returncode == 0, trained.stderr
    assert "best at epoch 1: brightness" in trained.stdout
    drawn = ganctl("train", "--data", "checks", *sets[2:], *small[2:], "--set", "data.count=30", env=environment)
    assert drawn.returncode == 0, drawn.stderr
    checked = ganctl("plugins", "--check", "bounded", "tiny", "checks", "brightness", env=environment)
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"loss bounded \(ganctl-bounded 0\.1\.0\): (\d+) of \1 checks passed", checked.stdout)
    assert re.search(r"architecture tiny \(ganctl-tiny 0\.1\.0\): (\d+) of \1 checks passed", checked.stdout)
    assert re.search(r"dataset checks \(ganctl-checks 0\.1\.0\): (\d+) of \1 checks passed", checked.stdout)
    assert re.search(r"metric brightness \(ganctl-brightness 0\.1\.0\): (\d+) of \1 checks passed", checked.stdout)
    test = [sys.executable, "-m", "pytest", "-q", str(site / "test_bounded.py")]
    tested = subprocess.run(test, env=environment, capture_output=True, text=True, check=False)
    assert re.search(r"^1\d passed", tested.stdout, re.MULTILINE), tested.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src)=\"([^\"]+)\"", page.read_text()):
        path = target[0] or target[1]
        if not path.startswith(("http://", "https://")):
            assert (page.parent / path).exists(), f"{page.name} links to {path}"


def test_every_command_that_the_readme_shows_has_those_options() -> None:
    from typer.main import get_command

    from ganctl.cli import app

    root = get_command(app)
    text = (ROOT / "README.md").read_text() + (ROOT / "examples" / "README.md").read_text()
    shown = re.findall(r"^\s*(?:.*uv run )?ganctl (\w+)( [^`\n]*)?$", text, re.MULTILINE)
    assert len(shown) > 8
    for name, rest in shown:
        command = root.commands[name]  # type: ignore[attr-defined]
        if name != "data":
            known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
            used = set(re.findall(r"(?<=\s)--?[a-z-]+", rest.split("  #")[0]))
            assert used <= known | {"--help"}, f"ganctl {name}{rest}"


def test_ci_runs_the_tests_as_the_readme_does() -> None:
    command = "pip install uv && uv run pytest"
    assert command in (ROOT / "README.md").read_text()
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("recipe", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_resolves(recipe: Path) -> None:
    from ganctl.resolve import read_recipe, resolve

    resolved = resolve(recipe=read_recipe(recipe))
    assert resolved.skipped == ()
    assert f"examples/{recipe.name}" in recipe.read_text()


@pytest.mark.parametrize("page", ["ganctl/README.md", "plugins/README.md"])
def test_what_is_generated_says_what_the_code_says(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    from cogapp import Cog

    code = Cog().main(["cog", "--check", "--diff", "-I", str(ROOT / "tests"), str(ROOT / page)])
    command = "python -m cogapp -r -I tests ganctl/README.md plugins/README.md"
    assert code == 0, f"{capsys.readouterr().out}\n{command} writes it anew"
