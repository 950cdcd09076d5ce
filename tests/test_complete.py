"""What the shell offers after Tab, for bash, zsh and fish."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from ganctl import complete, optim
from ganctl.cli import app
from ganctl.config import OPTIMISERS
from ganctl.run import Run

Ask = Callable[..., list[str]]
Cli = Callable[..., Result]

COMMAND = shutil.which("ganctl", path=Path(sys.executable).parent)
"""As it is installed: under another name nothing is completed."""


def asked(line: str, shell: str) -> dict[str, str]:
    """What *shell* puts into the environment for *line*."""
    about = {complete.ASKED: f"complete_{shell}"}
    if shell != "bash":
        return about | {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    pieces = [piece for word in line.split(" ") for piece in re.findall(r"[=:]+|[^=:]+", word) or [""]]
    return about | {"COMP_WORDS": "\n".join(pieces), "COMP_CWORD": str(len(pieces) - 1)}


def words(answer: str, shell: str) -> list[str]:
    """The words in what *shell* is answered."""
    if shell == "zsh":
        return [word.replace("\\\\:", ":") for word in re.findall(r'(?:\(\(|^)"(.*?)"', answer, re.MULTILINE)]
    return [line.split("\t")[0] for line in answer.splitlines()]


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Ask ganctl, in this process, what it offers after a line."""

    def ask(line: str, shell: str = "bash") -> list[str]:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "rich", None)
            patch.delenv(complete.BEFORE, raising=False)
            for name, value in asked(line, shell).items():
                patch.setenv(name, value)
            complete.prepare(os.environ)
            with pytest.raises(SystemExit):
                app(prog_name="ganctl")
            os.environ.pop(complete.BEFORE, None)
        out, err = capfd.readouterr()
        assert not err
        return words(out.rstrip("\n"), shell)

    return ask


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tra", ["train"]),
        ("train --ar", ["--arch"]),
        ("train --arch res", ["resnet"]),
        ("train --loss wg", ["wgan", "wgan-gp"]),
        ("train --loss=hi", ["hinge"]),
        ("train --data mni", ["mnist"]),
        ("train --precision b", ["bf16"]),
        ("train --device c", ["cpu", "cuda"]),
        ("train --log t", ["tensorboard"]),
        ("bench --arch dc", ["dcgan"]),
        ("evaluate run --metric kid-", ["kid-efflite0"]),
        ("data check fash", ["fashion-mnist"]),
        ("new da", ["dataset"]),
        ("plugins dcgan hin", ["hinge"]),
        ("show dcg", ["dcgan"]),
        ("show loss:hin", ["hinge"]),
        ("train --set arch.slo", ["arch.slope=", "arch.slope=0.2"]),
        ("train --set data.lim", ["data.limit=", "data.limit=..."]),
        ("train --set data.limit=", []),
        ("train --set arch.slope=", ["0.2"]),
        ("train --set arch.output=", ["tanh", "sigmoid"]),
        ("train --set arch.output=s", ["sigmoid"]),
        ("train --set=arch.output=s", ["sigmoid"]),
        ("train --set data.flip=", ["false", "true"]),
        ("train --set train.precision=f", ["fp32", "fp16"]),
        ("train --set optim.d.name=rms", ["rmsprop"]),
        ("train --set arch.name=res", ["resnet"]),
        ("train --set arch.kernel=", ["4", "growing"]),
        ("sweep x.toml --set loss.label_sm", ["loss.label_smoothing=", "loss.label_smoothing=0.0"]),
    ],
)
def test_names_keys_and_values_are_offered(offers: Ask, line: str, found: list[str]) -> None:
    assert offers(f"ganctl {line}") == found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("train --arch res", ["resnet"]),
        ("show loss:hin", ["loss:hinge"]),
        ("train --set arch.output=s", ["arch.output=sigmoid"]),
        ("train --set arch.slo", ["arch.slope=", "arch.slope=0.2"]),
    ],
)
def test_shells_that_keep_words_whole_get_them_whole(offers: Ask, shell: str, line: str, found: list[str]) -> None:
    assert offers(f"ganctl {line}", shell) == found


def keys(offered: list[str]) -> set[str]:
    return {word.rstrip("=") for word in offered}


def test_keys_are_those_of_the_plugins_on_the_line(offers: Ask) -> None:
    assert {"arch.slope", "arch.width", "arch.name"} <= keys(offers("ganctl train --set arch."))
    resnet = keys(offers("ganctl train --arch resnet --set arch."))
    assert "arch.width" in resnet and "arch.slope" not in resnet
    assert keys(offers("ganctl train --set arch.name=resnet --set arch.")) == resnet
    assert "loss.label_smoothing" in keys(offers("ganctl train --set loss."))
    assert "loss.label_smoothing" not in keys(offers("ganctl train --loss hinge --set loss."))
    assert "data.count" in keys(offers("ganctl train --set data."))
    assert "data.path" in keys(offers("ganctl train --data photos/ --set data."))
    several = keys(offers("ganctl evaluate run --metric swd --metric coverage --set metric."))
    assert {"metric.projections", "metric.neighbours", "metric.images"} <= several


def test_a_recipe_chooses_plugins_too_and_flags_outdo_it(offers: Ask) -> None:
    Path("mine.toml").write_text('[arch]\nname = "resnet"\n')
    Path("torn.toml").write_text("[arch\n")
    assert "arch.slope" not in keys(offers("ganctl train --recipe mine.toml --set arch."))
    assert "arch.slope" in keys(offers("ganctl train --recipe mine.toml --arch dcgan --set arch."))
    assert "arch.slope" in keys(offers("ganctl train --recipe torn.toml --set arch."))
    assert offers("ganctl train --recipe ") == ["mine.toml", "torn.toml"]
    assert offers("ganctl sweep m") == ["mine.toml"]


def test_folders_and_zips_are_offered_beside_data_sets(offers: Ask) -> None:
    Path("fotos").mkdir()
    Path("f.zip").touch()
    Path("f.txt").touch()
    assert offers("ganctl train --data f") == ["faces", "fashion-mnist", "folder", "f.zip", "fotos"]
    assert offers("ganctl train --set data.source=fo") == ["folder", "fotos"]
    assert offers("ganctl train --data fotos/") == []  # which leaves it to the shell


def test_what_a_shell_would_have_to_quote_is_left_to_it(offers: Ask) -> None:
    for name in ("my fotos", "my$(touch gone)", "my'", "my`x`", "my;x", 'my"x', "my\nx", "mine"):
        Path(name).mkdir()
    for shell in ("bash", "zsh", "fish"):
        assert offers("ganctl train --data my", shell) == []
        assert offers("ganctl train --data mi", shell) == ["mine"]


@pytest.fixture
def runs() -> None:
    for run in ("run", "run-2", "tried/a", "tried/b"):
        Path(run, "checkpoints").mkdir(parents=True)
        Path(run, "config.toml").touch()
    Path("tried/sweep.json").touch()
    Path("rest").mkdir()
    Path("run.safetensors").touch()


@pytest.mark.usefixtures("runs")
def test_runs_are_offered(offers: Ask) -> None:
    assert offers("ganctl resume ") == ["run", "run-2", "tried"]
    assert offers("ganctl resume r") == ["run", "run-2"]
    assert offers("ganctl compare run tried/") == ["tried/a", "tried/b"]
    assert offers("ganctl sample r") == ["run", "run-2", "run.safetensors"]
    assert offers("ganctl train --init run-") == ["run-2"]
    assert offers("ganctl video rest") == []
    assert offers("ganctl video missing/") == []


@pytest.mark.usefixtures("runs")
def test_checkpoints_of_the_run_are_offered(offers: Ask) -> None:
    run = Run(Path("run"))
    assert offers("ganctl export run --checkpoint ") == ["last"]
    for path in (run.checkpoint(40), run.checkpoint(80), run.best):
        path.touch()
    assert offers("ganctl export run --checkpoint ") == ["best", "last", "40", "80"]
    assert offers("ganctl export run-2 --checkpoint ") == ["last"]


def test_options_of_other_packages_are_offered_once_a_command_has_used_them(
    offers: Ask, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path / "cache"))
    ask = "ganctl train --arch perceptron --set arch."
    assert "arch.width" not in keys(offers(ask))
    assert cli("show", "perceptron").code == 0
    assert {"arch.width", "arch.latent_dim"} <= keys(offers(ask))


def test_a_cache_that_cannot_be_written_is_nothing_to_talk_about(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path / "file"))
    result = cli("show", "perceptron")
    assert (result.code, result.err) == (0, "")


def test_a_cache_that_somebody_has_spoilt_costs_only_what_it_held(
    offers: Ask, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path))
    cli("show", "perceptron")
    (file,) = tmp_path.glob("options/ganctl-goodfellow-*")
    for content in ("{", "[]", "{}"):
        file.write_text(content)
        assert "arch.width" not in keys(offers("ganctl train --arch perceptron --set arch."))
    cli("show", "perceptron")
    assert "arch.width" in keys(offers("ganctl train --arch perceptron --set arch."))


def test_what_is_written_down_of_ganctl_itself_is_so() -> None:
    remedy = "python -m ganctl.complete > options.json, and put that file in place of ganctl/options.json"
    assert complete.built_in() == complete.BUILT_IN.read_text(encoding="utf-8"), remedy


def test_optimisers_that_are_offered_exist() -> None:
    assert set(OPTIMISERS) <= set(optim.classes())


@pytest.mark.skipif(COMMAND is None, reason="ganctl is not installed as a command")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_nothing_heavy_and_no_plugin_is_imported(shell: str) -> None:
    environment = {**os.environ, **asked("ganctl train --data fac --set arch.output=s", shell)}
    command = [sys.executable, "-X", "importtime", str(COMMAND)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert words(result.stdout.rstrip("\n"), shell)[-1].endswith("sigmoid")
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "ganctl.complete" in imported
    assert not imported & {"torch", "numpy", "PIL", "rich", "ganctl.config"}
    assert not any(re.match(r"ganctl\.(architectures|losses|datasets|metrics)|ganctl_", name) for name in imported)


@pytest.mark.skipif(COMMAND is None, reason="ganctl is not installed as a command")
@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_takes_the_script_that_show_completion_prints() -> None:
    script = """
        eval "$(ganctl --show-completion bash)"
        complete -p ganctl >/dev/null || exit 9
        COMP_WORDS=(ganctl train --set arch.output '=' s) COMP_CWORD=5
        _ganctl_completion ganctl
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{Path(str(COMMAND)).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "sigmoid\n", "")
