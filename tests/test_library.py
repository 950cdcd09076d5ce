"""Training from Python and in notebooks: what the command does, to the bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

import ganctl
from ganctl import GanctlError, Trainer, resume

Cli = Callable[..., Result]

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"
TINY = {"arch.width": 2, "arch.latent_dim": 4}


def tiny(pictures: Path, epochs: int = 2, show: bool = False) -> Trainer:
    return Trainer(pictures, size=16, batch_size=8, epochs=epochs, settings=TINY, show=show)


def test_importing_ganctl_and_a_name_that_is_not_there_cost_nothing() -> None:
    code = "import sys, ganctl; hasattr(ganctl, 'nothing'); dir(ganctl); assert not {'torch', 'numpy'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_that_is_promised_is_there() -> None:
    for name in ganctl.__all__:
        assert getattr(ganctl, name) is not None
        assert name in dir(ganctl)


def test_the_same_settings_leave_the_same_run_folder_as_the_command(cli: Cli, pictures: Path) -> None:
    command = ["--size", 16, "--batch-size", 8, "--epochs", 2, *(f"--set={key}={value}" for key, value in TINY.items())]
    assert cli("train", "--data", pictures, *command, "--out", "a").code == 0
    run = tiny(pictures).train("b")
    assert run.path == Path("b")
    for name in ("generator.safetensors", "config.toml", "samples/epoch-0000.png", "samples/epoch-0002.png"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name
    assert [row["kind"] for row in run.rows()] == ["epoch", "step", "epoch"]


def test_steps_that_one_takes_oneself_come_to_the_same_weights(pictures: Path) -> None:
    tiny(pictures).train("run")
    before = sorted(Path().rglob("*"))
    trainer = tiny(pictures)
    first = trainer.sheet()
    steps = [(report.step, trainer.sheet().size) for report in trainer.run()]
    assert steps == [(step, (8 * 16, 8 * 16)) for step in range(7)]
    assert trainer.sheet().tobytes() != first.tobytes()
    assert sorted(Path().rglob("*")) == before  # it writes nothing
    whole = tiny(pictures, epochs=4)
    assert [report.step for report in whole.run()] == list(range(13))
    resume("run", epochs=4, show=False)
    from ganctl.weights import read_header

    tensors, _ = read_header(Path("run/generator.safetensors"))
    for name, tensor in whole.ema.network.state_dict().items():
        assert tensor.equal(tensors[name]), name


def test_a_recipe_is_taken_and_flags_outdo_it(pictures: Path) -> None:
    Path("mine.toml").write_text('[loss]\nname = "hinge"\n[data]\nsize = 32\n')
    settings = Trainer(pictures, recipe="mine.toml", size=16, batch_size=8, settings=TINY, show=False).settings
    assert (settings.entries["loss"].name, settings.data.size) == ("hinge", 16)


def test_what_is_wrong_is_said_in_one_line(pictures: Path) -> None:
    with pytest.raises(GanctlError, match=r"^no loss is called 'hing'; did you mean 'hinge'\?$"):
        Trainer(pictures, loss="hing", show=False)
    with pytest.raises(GanctlError, match=r"^data.size = 3 \(--size\): must be at least 8"):
        Trainer(pictures, size=3, show=False)
    with pytest.raises(GanctlError, match="there is no setting 'arch.wdith'; did you mean 'arch.width'"):
        Trainer(pictures, settings={"arch.wdith": 2}, show=False)
    with pytest.raises(GanctlError, match="there is no run folder nowhere"):
        resume("nowhere")
    trainer = tiny(pictures)
    trainer.train("run")
    with pytest.raises(GanctlError, match="trained to its end"):
        trainer.train("again")
    with pytest.raises(GanctlError, match="--out run exists"):
        tiny(pictures).train("run")


def test_an_interrupt_saves_and_is_raised_then_and_resume_goes_on(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(pictures).train("whole")
    trainer = tiny(pictures, show=True)
    steps = type(trainer).run

    def interrupted(self: Trainer) -> object:
        for report in steps(self):
            if report.step == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield report

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.train("part")
    assert "stopped and saved at step 2 of 6; ganctl resume part goes on" in capsys.readouterr().out
    assert resume("part", show=False).path == Path("part")
    assert Path("part/generator.safetensors").read_bytes() == Path("whole/generator.safetensors").read_bytes()


def test_it_trains_in_another_thread_than_the_main_one(pictures: Path) -> None:
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(tiny(pictures).train("run").path))
    thread.start()
    thread.join()
    assert ended == [Path("run")]


def test_the_notebook_holds_no_output_and_no_path() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert "/home" not in text and "/Users" not in text


def test_the_notebook_runs_and_shows_bars_figures_and_samples(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:  # the same in a fraction of the time
        small = {
            '"data.count": 4000': '"data.count": 128',
            '"arch.width": 32': '"arch.width": 2',
            "epochs=5": "epochs=2",
        }
        for text, other in small.items():
            cell.source = cell.source.replace(text, other)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    trained, figures, stepped = (cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    shown = [output.data for output in trained if output.output_type == "display_data"]
    text = re.sub("<[^>]*>", "", "".join(data.get("text/html", "") for data in shown))
    assert re.search(r"^epoch 2/2 ━+ 8/8 ", text, re.MULTILINE)
    assert re.search(r"^steps +━+ 16/16 ", text, re.MULTILINE)
    assert re.search(r"^epoch 1/2  G [\d.]+  D [\d.]+  D\(x\)", text, re.MULTILINE)
    assert sum("image/png" in data for data in shown) == 1
    assert not any(output.get("name") == "stderr" for output in trained)
    assert len(eval(figures[0].data["text/plain"])) == 2
    assert "image/png" in stepped[-1].data
