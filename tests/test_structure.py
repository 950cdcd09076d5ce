"""Imports point one way, and the light modules stay light."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import ganctl

PACKAGE = Path(ganctl.__file__).parent

# Each may import its own floor and those below it.
FLOORS: list[set[str]] = [
    {"ganctl", "errors"},
    {"api", "figures", "files", "kernels", "memory", "penalties"},
    {"registry", "run"},
    {"blame", "config"},
    {"compare", "resolve", "sweep"},
    {"augment", "complete", "data", "device", "ema", "health", "judging", "meters", "nn", "optim", "plot", "preview"}
    | {"randomness", "report", "sampling", "tensorboard", "video", "weights"},
    {"architectures", "losses", "datasets", "distances", "features", "trainer"},
    {"checkpoint", "evaluation", "metrics", "precision", "rehearsal", "remembered", "summary", "testing"},
    {"assemble", "probe", "session"},
    {"bench"},
    {"display"},
    {"commands"},
    {"cli", "library"},
    {"__main__"},
]

PLUGINS = ("architectures", "losses", "datasets", "metrics")


def floor(module: str) -> int:
    part = module.split(".")[1] if "." in module else module
    return next(number for number, names in enumerate(FLOORS) if part in names)


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules of ganctl, and top-level names of others, that the file imports; type-checking-only imports left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                submodules = {alias.name for alias in child.names if (PACKAGE / f"{alias.name}.py").exists()}
                if child.module == "ganctl":
                    found.update(f"ganctl.{name}" for name in submodules)
                else:
                    found.add(child.module)
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = floor(".".join(["ganctl", *path.relative_to(PACKAGE).with_suffix("").parts]))
    for module in imports(path):
        if module.split(".")[0] == "ganctl" and module != "ganctl":
            assert floor(module) <= own, f"{path.name} imports {module}, which is above it"


LIGHT = "api cli compare complete config display errors files registry resolve run sweep"


@pytest.mark.parametrize("name", LIGHT.split())
def test_light_modules_import_nothing_heavy_when_they_load(name: str) -> None:
    heavy = {"torch", "torchvision", "numpy", "PIL", "safetensors"}
    seen = {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py", everywhere=False)}
    assert not seen & heavy


def test_core_code_imports_no_plugin_by_name() -> None:
    for path in MODULES:
        if path.parent.name not in PLUGINS:
            for module in imports(path):
                assert not module.startswith(tuple(f"ganctl.{name}" for name in PLUGINS)), path


def test_rich_is_imported_by_the_display_only() -> None:
    users = {path.stem for path in MODULES if any(module.split(".")[0] == "rich" for module in imports(path))}
    assert users == {"display"}


def test_every_plugin_file_is_registered() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    registered = {
        target.split(":")[0]
        for group, points in project["entry-points"].items()
        if group.startswith("ganctl.")
        for target in points.values()
    }
    files = {f"ganctl.{path.parent.name}.{path.stem}" for path in MODULES if path.parent.name in PLUGINS}
    assert registered == files


def test_the_loop_fits_on_a_screen_and_prints_nothing() -> None:
    source = (PACKAGE / "trainer.py").read_text()
    tree = ast.parse(source)
    loop = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "_train")
    assert loop.end_lineno is not None
    assert loop.end_lineno - loop.lineno < 40
    assert "print(" not in source
    assert "open(" not in source
