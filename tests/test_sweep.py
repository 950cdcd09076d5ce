"""Sweeps: what a file lists, what is refused before anything begins, and what outlives a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, draw, ganctl
from rich.console import Console
from toys import layer

from ganctl.commands.sweeping import wait_for
from ganctl.display import Display
from ganctl.resolve import resolve
from ganctl.run import Run, held
from ganctl.sweep import Record, Trial, read_sweep

Cli = Callable[..., Result]

ROOT = Path(__file__).parents[1]

TOY = """
[settings]
"data.size" = 16
"train.epochs" = {epochs}
"train.batch_size" = 8
"train.log_every" = 1
[settings.arch]
width = 2
latent_dim = 4
"""
SLOPES = '[grid]\n"arch.slope" = [0.05, 0.1, 0.2, 0.3, 0.5]\n'


def trials(text: str, flags: dict[str, Any] | None = None) -> list[Trial]:
    Path("s.toml").write_text(text)
    return read_sweep(Path("s.toml"), layer(flags)).trials


def names(text: str) -> list[str]:
    return [trial.name for trial in trials(text)]


def states(out: str) -> dict[str, str]:
    path = Path(out) / "sweep.json"
    if not path.exists():
        return {}
    return {name: known["state"] for name, known in json.loads(path.read_text())["trials"].items()}


def until(process: subprocess.Popen[str], so_far: Callable[[], bool]) -> None:
    """Look again and again whether *process* is so far."""
    deadline = time.monotonic() + 300
    while not so_far():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


def started(*arguments: object) -> subprocess.Popen[str]:
    """Start a sweep as a terminal does, in a process group of its own."""
    command = [sys.executable, "-m", "ganctl", "sweep", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def epochs(out: str, name: str) -> list[int]:
    return [row["epoch"] for row in Run(Path(out) / name).rows() if row["kind"] == "epoch"]


def test_a_grid_is_every_combination_named_by_its_settings() -> None:
    assert names(SLOPES) == ["slope=0.05", "slope=0.1", "slope=0.2", "slope=0.3", "slope=0.5"]
    assert names('[grid.arch]\nkernel = [3, "growing"]\nslope = [0.1, 0.3]') == [
        "kernel=3,slope=0.1",
        "kernel=3,slope=0.3",
        "kernel=growing,slope=0.1",
        "kernel=growing,slope=0.3",
    ]
    optimisers = '[grid.optim]\n"g.lr" = [1e-5]\n"d.lr" = [2e-4]\n"g.betas" = [[0.5, 0.9]]\n[grid.data]\nflip = [true]'
    assert names(optimisers) == ["g.lr=1e-05,d.lr=0.0002,betas=0.5-0.9,flip=true"]


def test_names_are_fit_for_folders_and_unique() -> None:
    assert names('[grid]\n"data.source" = ["../a b/c:d", "../a b/c?d", "x.json"]') == [
        "source=..-a-b-c-d",
        "source=..-a-b-c-d-2",
        "source=x-json",
    ]
    assert names('[[trials]]\n"arch.slope"=0.1\n[[trials]]\nname="slope=0.1"\n[[trials]]\nname="Größe_1"') == [
        "slope=0.1-2",
        "slope=0.1",
        "Größe_1",
    ]
    (long,) = names(f'[[trials]]\n"data.source" = "{"ü" * 300}"')
    Path(f"{long}.log").touch()


def test_dotted_keys_and_tables_mean_the_same() -> None:
    dotted = trials('[settings]\n"arch.width" = 8\n[[trials]]\nname="a"\n"optim.g.name" = "sgd"')
    tables = trials('[settings.arch]\nwidth = 8\n[[trials]]\nname="a"\n[trials.optim.g]\nname = "sgd"')
    assert dotted[0].settings() == tables[0].settings() == {"arch.width": 8, "optim.g.name": "sgd"}


def test_the_recipe_the_settings_the_trial_and_the_flags_have_the_last_word_in_this_order() -> None:
    Path("base").mkdir()
    Path("base/r.toml").write_text("[arch]\nwidth = 1\nlatent_dim = 1\nslope = 0.1\nkernel = 3\n[train]\nsteps = 7")
    text = 'recipe = "base/r.toml"\n[settings.arch]\nlatent_dim = 2\nslope = 0.2\nkernel = 4\n'
    text += '[settings.train]\nepochs = 9\n[[trials]]\n"arch.slope" = 0.3\n"arch.kernel" = 5\n'
    (trial,) = trials(text, {"arch.kernel": 7})
    resolved = resolve(trial.user, trial.recipe)
    tables = resolved.tables()
    assert [tables["arch"][key] for key in ("width", "latent_dim", "slope", "kernel")] == [1, 2, 0.3, 7]
    assert (resolved.train.steps, resolved.train.epochs) == (None, 9)
    assert trial.settings()["train.epochs"] == 9
    assert "train.steps" not in trial.settings()
    (trial,) = trials(text, {"train.images": 5})
    assert resolve(trial.user, trial.recipe).train.epochs is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = ", "s.toml is not TOML"),
        ("[gird]", "s.toml: a sweep has no 'gird'; did you mean 'grid'?"),
        ("[arch]\nslope = 3", "a sweep has no 'arch'"),
        ("jobs = 0\n" + SLOPES, "jobs = 0: must be a whole number, at least 1"),
        ("jobs = true\n" + SLOPES, "jobs = True: must be a whole number, at least 1"),
        ("recipe = 3\n" + SLOPES, "recipe = 3: must be a file's name"),
        ('recipe = "none.toml"\n' + SLOPES, "cannot read the recipe none.toml"),
        ("", "write either a table [grid] or tables [[trials]]"),
        (SLOPES + '[[trials]]\nname="a"', "write either a table [grid] or tables [[trials]]"),
        ("settings = 3\n" + SLOPES, "settings must be a table"),
        ("[grid]", "grid is empty"),
        ('[grid]\n"arch.slope" = 0.1', "arch.slope must be a list of values to try, such as [0.1, 0.2]"),
        ('[grid]\n"arch.slope" = []', "arch.slope must be a list of values to try"),
        ('[grid]\n"arch.slope" = [0.1]\n[grid.arch]\nslope = [0.2]', "grid has arch.slope twice"),
        ('[grid]\n"arch.slope" = [0.1, 0.1]', "two trials are the same: arch.slope = 0.1"),
        ("[grid.arch]\n" + "".join(f"o{n} = [{', '.join(map(str, range(10)))}]\n" for n in range(9)), "1,000,000,000"),
        ("trials = 3", "write each trial as a table [[trials]]"),
        ("trials = []", "there are 0 trials"),
        ("[[trials]]", "a trial has neither settings nor a name"),
        ('[[trials]]\nname = "../up"', "the trial's name '../up' cannot be a folder's"),
        ('[[trials]]\nname = "a.log"', "the trial's name 'a.log' cannot be a folder's"),
        ("[[trials]]\nname = 3", "a trial's name = 3: must be text, in quotes"),
        ('[[trials]]\nname = "a"\n[[trials]]\nname = "A"', "two trials are called A"),
    ],
)
def test_a_file_that_is_no_sweep_gets_one_line(cli: Cli, text: str, complaint: str) -> None:
    Path("s.toml").write_text(text)
    result = cli("sweep", "s.toml")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), result.err
    assert complaint in result.err
    assert os.listdir() == ["s.toml"]


def test_no_file_gets_one_line(cli: Cli) -> None:
    result = cli("sweep", "none.toml")
    assert (result.code, result.err) == (1, "ganctl: cannot read the sweep none.toml: No such file or directory\n")


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("arch.slop", "0.1", "there is no setting 'arch.slop'; did you mean 'arch.slope'?"),
        ("optim.g.name", '"adamm"', "optim.g.name: torch.optim has no 'adamm'; did you mean 'adam'?"),
    ],
)
def test_a_trial_that_cannot_be_trained_is_refused_before_the_first_begins(
    cli: Cli, pictures: Path, key: str, value: str, complaint: str
) -> None:
    wrong = f'[[trials]]\nname = "good"\n[[trials]]\nname = "wrong"\n"{key}" = {value}\n'
    Path("s.toml").write_text(TOY.format(epochs=2) + wrong)
    result = cli("sweep", "s.toml", "--data", pictures)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("ganctl: trial wrong: ")
    assert complaint in result.err
    assert "begins" not in result.out
    assert os.listdir() == ["s.toml"]


def test_a_folder_in_which_another_sweep_lives_is_refused(cli: Cli) -> None:
    Path("s.toml").write_text(SLOPES)
    Path("s").mkdir()
    with held(Path("s")):
        result = cli("sweep", "s.toml")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "s is in use: another ganctl works in it" in result.err


def test_a_trial_that_was_begun_with_other_settings_is_refused_until_its_folder_is_removed(cli: Cli) -> None:
    text = '[settings]\n"arch.width" = {width}\n[[trials]]\nname = "a"\n"arch.slope" = 0.1\n'
    (trial,) = trials(text.format(width=2))
    Path("s/a").mkdir(parents=True)
    Record(Path("s")).keep(trial, "done")
    assert cli("sweep", "s.toml").code == 0
    for changed, arguments, words in (
        (text.format(width=4), [], "arch.width = 2 and is now to have arch.width = 4"),
        (text.format(width=2), ["--set", "arch.kernel=5"], "no arch.kernel and is now to have arch.kernel = 5"),
    ):
        Path("s.toml").write_text(changed)
        result = cli("sweep", "s.toml", *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
        assert f"trial a was begun with {words}" in result.err
        assert "put that back, remove s/a to begin the trial anew, or name another folder with --out" in result.err
    Path("s/a").rmdir()
    assert Record(Path("s")).left(trials(text.format(width=4))) == trials(text.format(width=4))


def test_folders_that_are_something_elses_are_left_alone(cli: Cli) -> None:
    Path("s.toml").write_text(SLOPES)
    Path("s").mkdir()
    Path("s/holiday.jpg").touch()
    result = cli("sweep", "s.toml")
    assert (result.code, result.err) == (1, "ganctl: s exists and is not a sweep's folder; name another with --out\n")
    Path("s/holiday.jpg").unlink()
    Path("s/slope=0.2").mkdir()
    Path("s/sweep.json").write_text('{"ganctl": {"format": 1}, "trials": {}}')
    assert "s/slope=0.2 is there already and is no trial of this sweep" in cli("sweep", "s.toml").err
    for content in ("{", "[]", '{"ganctl": {"format": 1}, "trials": {"a": 3}}'):
        Path("s/sweep.json").write_text(content)
        assert "s/sweep.json is not what ganctl wrote there" in cli("sweep", "s.toml").err
    Path("s/sweep.json").write_text('{"ganctl": {"format": 99}, "trials": {}}')
    assert "from a newer ganctl" in cli("sweep", "s.toml").err
    Path("file").touch()
    assert "cannot make the sweep's folder file" in cli("sweep", "s.toml", "--out", "file").err


def test_a_grid_of_slopes_survives_ctrl_c_and_a_kill_and_is_compared(pictures: Path) -> None:
    Path("slopes.toml").write_text(TOY.format(epochs=60) + SLOPES)
    arguments = ["slopes.toml", "--data", pictures, "--jobs", 2]

    process = started(*arguments)
    until(process, lambda: len(epochs("slopes", "slope=0.05")) > 3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "")
    assert "of 5 trials done; the same command goes on" in out
    assert "stopped and saved at step" in Path("slopes/slope=0.05.log").read_text()
    assert states("slopes")["slope=0.05"] == "begun"
    saved = len(epochs("slopes", "slope=0.05"))

    process = started(*arguments)
    until(process, lambda: len(epochs("slopes", "slope=0.05")) > saved + 3)
    process.kill()  # the sweep alone: its trials notice, and save
    process.wait()
    assert 3 < len(epochs("slopes", "slope=0.05")) < 60

    done = ganctl("sweep", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^slope=0.05 goes on at step \d+$", done.stdout, re.MULTILINE)
    assert re.search(r"^slope=0.5 is done in \d+:\d\d  G [\d.]+  D [\d.]+$", done.stdout, re.MULTILINE)
    assert "ganctl compare slopes" in done.stdout
    assert Path("slopes/slope=0.05.log").read_text().count("stopped and saved at step") == 2
    for name in ("slope=0.05", "slope=0.1", "slope=0.2", "slope=0.3", "slope=0.5"):
        assert states("slopes")[name] == "done"
        assert epochs("slopes", name) == list(range(1, 61))

    compared = ganctl("compare", "slopes", "--json")
    assert compared.returncode == 0
    columns = json.loads(compared.stdout)
    assert [column["settings"] for column in columns] == [{"arch.slope": s} for s in (0.05, 0.1, 0.2, 0.3, 0.5)]
    assert all(column["figures"]["loss_g"]["final"] > 0 for column in columns)


def test_a_trial_that_is_still_saving_is_waited_for() -> None:
    Path("r").mkdir()
    code = "from pathlib import Path; from ganctl.run import held\nwith held(Path('r')): input(print(flush=True))"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout and process.stdout.readline()
    notes = []

    class Shown(Display):
        def note(self, text: object = "", style: str = "") -> None:
            notes.append(text)
            process.communicate("now end\n")

    wait_for(Run(Path("r")), Shown(Console()))
    assert notes == ["waits for the process that is still saving r"]
    with held(Path("r")):
        pass


def test_a_sigterm_before_the_first_trial_leaves_nothing(pictures: Path) -> None:
    Path("s.toml").write_text(TOY.format(epochs=2) + SLOPES)
    process = started("s.toml", "--data", pictures)
    for line in process.stdout or ():
        if line.startswith("checks"):
            break
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (143, "")
    assert os.listdir() == ["s.toml"]


def test_one_trial_that_fails_costs_the_others_nothing_and_is_tried_again(cli: Cli, pictures: Path) -> None:
    for number in range(4):
        draw(Path("broken") / f"{number}.png", number)
        Path(f"broken/{number}.png").write_bytes(b"no picture")
    text = (
        TOY.format(epochs=1)
        + f"""
        [[trials]]
        name = "bad"
        "data.source" = "broken"
        [[trials]]
        name = "good"
        "data.source" = {json.dumps(str(pictures))}
    """
    )
    Path("s.toml").write_text(text)
    result = cli("sweep", "s.toml", "--out", "o", "--set", "train.batch_size=4", "--jobs", 2)
    assert result.code == 1
    assert re.fullmatch(r"ganctl: trial bad failed: .*4 of 4 images are broken.* \(o/bad\.log\)\n", result.err)
    assert "1 of 2 trials are done; the same command tries the others again" in result.out
    assert states("o") == {"bad": "failed", "good": "done"}
    assert epochs("o", "good") == [1]
    for number in range(4):
        draw(Path("broken") / f"{number}.png", number)
    again = cli("sweep", "s.toml", "--out", "o", "--set", "train.batch_size=4", "--jobs", 2)
    assert (again.code, again.err) == (0, "")
    assert "good begins" not in again.out
    assert states("o") == {"bad": "done", "good": "done"}
    assert not list(Path("o").glob("*/.lock"))


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_every_sweep_among_the_examples_resolves(file: Path) -> None:
    plan = read_sweep(file, layer())
    for trial in plan.trials:
        assert resolve(trial.user, trial.recipe).skipped == ()
    assert f"examples/sweeps/{file.name}" in file.read_text()


def test_reading_a_sweep_imports_no_torch() -> None:
    Path("s.toml").write_text(SLOPES)
    code = (
        "import sys; from pathlib import Path; from ganctl.resolve import Layer; from ganctl.sweep import read_sweep\n"
        "import ganctl.commands.sweeping\n"
        "read_sweep(Path('s.toml'), Layer()); assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
