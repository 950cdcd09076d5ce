"""The page about runs: all of them is on it, it asks nothing of anybody, and what runs are called stays text."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tomli_w
from conftest import Result
from PIL import Image

from ganctl.cli import app
from ganctl.report import curves, page, pictures, tables
from ganctl.run import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Cli = Callable[..., Result]

SCRIPT = "<script>document.title='hit'</script>"
EVIL = f"\"'>{SCRIPT}</script></style><img src=x onerror=\"document.title='hit'\">{{{{7*7}}}}&amp;\x1b[31m\u202e"


def metric(step: int, value: object, name: object = "fd", **other: Any) -> dict[str, Any]:
    """A row as an evaluation writes it."""
    row = {"kind": "metric", "step": step, "epoch": step // 10, "name": name, "value": value, "floor": 1.5}
    return row | {"lower_is_better": True, "protocol": {"extractor": "none", "fakes": 500}} | other


def health(step: int, state: str, event: object = "mode-collapse", text: object = "all alike") -> dict[str, Any]:
    return {"kind": "health", "step": step, "epoch": step // 10, "event": event, "state": state, "text": text}


def step(number: int, **figures: Any) -> dict[str, Any]:
    losses = {"loss_g": 1 + number / 100, "loss_d": 0.7, "score_real": 0.8, "score_fake": 0.2, "accuracy_d": 0.9}
    place = {"kind": "step", "step": number, "epoch": 1, "images": 8 * number, "seconds": 60.0 * number}
    return place | losses | figures


def write_rows(run: Path, *rows: dict[str, Any]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def make_run(name: str, rows: list[dict[str, Any]] | None = None, tables: dict[str, Any] | None = None) -> Path:
    """A run folder without images."""
    run = Path(name)
    (run / "samples").mkdir(parents=True)
    (run / "config.toml").write_text(tomli_w.dumps({"ganctl": {"format": 1}} | (tables or {})))
    write_rows(run, *([step(5), step(10)] if rows is None else rows))
    return run


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small training leaves behind."""
    run = tmp_path_factory.mktemp("report") / "trained"
    tiny = ["--size", "16", "--set", "arch.width=2", "--set", "arch.latent_dim=4", "--batch-size", "8"]
    length = ["--epochs", "4", "--set", "train.log_every=1", "--quiet"]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        app(["train", "--data", str(pictures), *tiny, *length, "--out", str(run)])
    signal.signal(signal.SIGTERM, before)
    assert not end.value.code
    write_rows(run, metric(10, 30.0), metric(20, 12.5), metric(12, 7.0, protocol={"extractor": "none", "fakes": 100}))
    write_rows(run, health(6, "begins"), health(9, "ends", text="over since epoch 1"))
    return run


@pytest.fixture
def run(trained: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, "run"))


class Tags(HTMLParser):
    """The tags of a page, and its text apart from scripts and styles."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.text += data

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_a_run_gets_a_page_of_its_own_with_everything_in_it(cli: Cli, run: Path) -> None:
    result = cli("report", "run")
    assert (result.code, result.err) == (0, "")
    assert "run/report.html: 1 run, " in result.out
    found = Tags("run/report.html")
    for attributes in (attributes for _, attributes in found.tags):
        for name in ("src", "href", "poster", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    sheets = [image["alt"] or "" for image in found.of("img")]
    assert [f"after epoch {n}" in sheets[n] for n in range(1, 5)] == [True] * 4
    assert sheets[0] == "64 generated images in 8 rows of 8, before training"
    assert sheets[5] == "24 of the 24 real images, class by class: discs, dots"
    assert "2 kernels of 4x4" in sheets[6]
    assert (found.of("video")[0]["src"] or "").startswith("data:video/mp4;base64,")
    for words in ("generator steps", "ConvTranspose2d", "arch.latent_dim", "--set", "all alike", "over since epoch 1"):
        assert words in found.text
    for words in ("protocols that differ in fakes", "best fd (of real images: 1.5)", "12.5, epoch 2", "run-again"):
        assert words in found.text


def test_the_file_to_repeat_the_run_is_its_config(run: Path) -> None:
    repeat = tables.repeat(Run(run), Run(run).tables())
    assert base64.b64decode(repeat.url.partition(",")[2]).decode() == tables.without_home(
        (run / "config.toml").read_text()
    )
    assert repeat.command == "ganctl train --recipe config.toml --out run-again"


def test_several_runs_are_side_by_side_on_a_page_here(cli: Cli, run: Path) -> None:
    make_run("b/other", [step(5), metric(5, 3.0), metric(10, 2.0)], {"arch": {"name": "dcgan", "width": 77}})
    make_run("b/third", [], {"arch": {"name": "resnet"}})
    result = cli("report", "run", "b", "run")
    assert (result.code, result.err) == (0, "")
    assert "report.html: 3 runs" in result.out
    found = Tags("report.html")
    assert [attributes["id"] for attributes in found.of("section") if attributes.get("id", "").startswith("run-")] == [
        "run-1",
        "run-2",
        "run-3",
    ]
    assert "arch.width" in found.text and "77" in found.text


def test_metrics_of_different_protocols_never_share_axes_and_the_part_is_said() -> None:
    few, many = ({"extractor": "none", "fakes": number} for number in (100, 500))
    one = [metric(10, 3.0, protocol=few), metric(20, 2.0, protocol=few), metric(20, 9.0, protocol=many)]
    two = [metric(10, 8.0, protocol=many), metric(20, 7.0, protocol=many), metric(20, 6.0, protocol=many)]
    scored = curves.groups([one, two])
    assert [(group.differs, sorted(group.runs)) for group in scored] == [("fakes: 100", [0]), ("fakes: 500", [0, 1])]
    charts = curves.charts(["one", "two"], [one, two], scored)
    floor = "real against real"
    assert [(chart.unit, {c.label: c.values for c in chart.curves}) for chart in charts] == [
        ("lower is better; fakes: 100", {"one": [3.0, 2.0], floor: [1.5, 1.5]}),
        ("lower is better; fakes: 500", {"one": [9.0], "two": [8.0, 6.0], floor: [1.5, 1.5]}),
    ]
    assert tables.bests([scored[1]], 1) == {"best fd (of real images: 1.5)": "6, epoch 2"}


def test_curves_are_drawn_over_steps_images_and_minutes_and_thinned_evenly() -> None:
    rows = [step(n, loss_g=None if n < 3 else float(n)) for n in range(1, 7001)]
    charts = curves.charts(["r"], [rows], [])
    assert [chart.title for chart in charts] == ["Losses", "Scores", "Accuracy"]
    (line, *_) = charts[0].curves
    assert 1000 < len(line.steps) <= curves.MOST_POINTS
    assert line.steps[-1] == 7000
    assert line.images == [8 * place for place in line.steps]
    assert line.minutes == pytest.approx(line.steps)
    assert line.values[0] == 4.0  # the mean of those that are finite


def test_health_events_go_from_their_beginning_to_their_end() -> None:
    rows = [health(10, "begins"), health(20, "begins", "grey", "no contrast"), health(30, "ends", text="well again")]
    assert tables.health([*rows, health(40, "ends", "never begun")]) == [
        ("mode-collapse", "all alike", "epoch 1, step 10", "epoch 3, step 30", "well again"),
        ("grey", "no contrast", "epoch 2, step 20", "", ""),
    ]


ODD_ROWS: list[Any] = [
    {"kind": "metric"},
    metric(10, "high"), metric(10, [1]), metric(10, None), metric(10, True), metric(10, 1e300),
    metric(10, 1.0, name=None), metric(10, 1.0, name=["fd"]), metric(10, 1.0, protocol=[1, 2]),
    metric(10, 1.0, protocol={"a": {"b": [EVIL]}}), metric(10, 1.0, lower_is_better="yes", floor="low"),
    metric(10, 1.0, epoch="one") | {"step": None}, metric(-5, 1.0), metric(10, 2.0, protocol=None),
    step(-3), step(7, loss_g="x", loss_d=[], loss_d_gp=None, images=None, seconds="long"),
    {"kind": ["step"], "step": {}}, {"kind": "epoch", "epoch": 10**30, "loss_g": 1}, {"kind": "epoch", "epoch": True},
    health(5, "ends"), {"kind": "health"}, {"kind": "health", "event": {"a": 1}, "text": 3, "step": "x"},
]  # fmt: skip
ODD_CONFIG: dict[str, Any] = {
    "data": {"source": EVIL, "size": EVIL, "classes": EVIL},
    "arch": 3,
    "loss": {"name": [EVIL]},
    "ganctl": {"format": 1, "sources": [1], "networks": {"generator": "x", "discriminator": [1, "a b"]}, "pixels": 5},
}


def test_odd_rows_and_settings_leave_a_page_of_the_rest(cli: Cli) -> None:
    make_run("odd", [*ODD_ROWS, step(9)], ODD_CONFIG)
    make_run("empty", [], {"ganctl": {"format": 1, "networks": [], "packages": 3, "images": EVIL}})
    (Path("odd") / "samples" / "epoch-0001.png").write_text(SCRIPT)
    (Path("odd") / "samples" / "epoch-²³.png").write_text(SCRIPT)
    for arguments in (["odd"], ["empty"], ["odd", "empty"]):
        result = cli("report", *arguments, "-o", "page.html")
        assert (result.code, result.err) == (0, ""), arguments
        assert len(Tags("page.html").of("script")) == 3
    assert "odd: epoch-0001.png cannot be read and is left out." in result.out


def make_hostile(run: Path) -> Path:
    """Give a trained run the worst of names: its folder's, plugins', classes', settings', metrics' and events'."""
    from ganctl.data.pack import find_hash

    recorded = Run(run).tables()
    packed = find_hash(recorded["ganctl"]["pixels"])
    assert packed is not None
    recorded["arch"]["name"] = recorded["loss"][EVIL] = EVIL
    recorded["data"] |= {"source": f"/data/{EVIL}", "classes": [EVIL]}
    about = recorded["ganctl"]
    about["sources"]["arch.name"] = EVIL
    about["packages"][EVIL] = EVIL
    about["networks"] = {name: [f"{EVIL} {SCRIPT} 3x4 12"] for name in ("generator", "discriminator")}
    (run / "config.toml").write_text(tomli_w.dumps(recorded))
    rows = [metric(20, 3.0, EVIL, protocol={EVIL: EVIL}), metric(10, 5.0, EVIL, protocol={EVIL: EVIL})]
    rows += [metric(20, 3.0, EVIL, protocol={EVIL: SCRIPT}), health(3, "begins", EVIL, EVIL), step(5, **{EVIL: 1.0})]
    write_rows(run, *rows)
    (run / "samples" / "epoch-0009.png").write_text(SCRIPT)
    return run.rename(run.with_name(EVIL.replace("/", "⁄")[:120]))


def test_hostile_names_stay_text(cli: Cli, run: Path) -> None:
    hostile = make_hostile(run)
    for arguments in ([hostile], [hostile, make_run("innocent")]):
        result = cli("report", *arguments, "-o", "page.html")
        assert (result.code, result.err) == (0, "")
        assert "\x1b" not in result.out
        found = Tags("page.html")
        assert [script.get("type") for script in found.of("script")] == ["application/json", None, None]
        assert len(found.of("style")) == 2
        assert all((image["src"] or "").startswith("data:image/") for image in found.of("img"))
        assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
        assert found.text.count(SCRIPT) > 8
        assert "{{7*7}}" in found.text
        assert not {"\x1b", "\u202e"} & set(Path("page.html").read_text())


def test_class_names_of_the_pack_are_beside_the_real_images_as_text(cli: Cli, pictures: Path) -> None:
    for name, source in ((SCRIPT.replace("/", "⁄"), "dots"), ("b", "discs")):
        shutil.copytree(pictures / source, Path("data", name))
    tiny = ["--size", 16, "--set", "arch.width=2", "--batch-size", 8, "--set", "train.steps=1"]
    assert cli("train", "--data", "data", *tiny, "--out", "r").code == 0
    assert cli("report", "r").code == 0
    found = Tags("r/report.html")
    assert any(SCRIPT.replace("/", "⁄") in (image["alt"] or "") for image in found.of("img"))
    assert len(found.of("script")) == 3


def make_sheets(run: Path, count: int, side: int) -> None:
    """Give *run* sheets that no format makes much smaller."""
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(f"noise-{number}.png")
    for epoch in range(count):
        os.link(f"noise-{epoch % 4}.png", run / "samples" / f"epoch-{epoch:04}.png")


def test_a_run_of_many_large_sheets_stays_within_the_limit(cli: Cli) -> None:
    make_sheets(make_run("long"), 100, 400)
    assert cli("report", "long").code == 0
    assert 5_000_000 < Path("long/report.html").stat().st_size < 15_000_000
    assert sum(file.stat().st_size for file in Path("long/samples").iterdir()) > 45_000_000


def test_sheets_are_embedded_as_they_are_or_smaller_or_left_out_evenly() -> None:
    run = make_run("r")
    make_sheets(run, 50, 64)
    notes: list[str] = []

    def sheets(room: int) -> list[pictures.Sheet]:
        found = pictures.sheets(Run(run), room, 16, lambda *_: None, notes)
        assert sum(len(sheet.picture.url) for sheet in found) <= room
        return found

    whole = sheets(1_000_000)
    assert [sheet.epoch for sheet in whole] == list(range(50))
    assert base64.b64decode(whole[7].picture.url.partition(",")[2]) == Run(run).sample(7).read_bytes()
    assert whole[7].picture.words == "16 generated images in 4 rows of 4, after epoch 7"
    assert [sheet.epoch for sheet in sheets(300_000)] == list(range(50))
    assert notes == []
    few = [sheet.epoch for sheet in sheets(50_000)]
    assert (few[0], few[-1]) == (0, 49)
    assert max(np.diff(few)) - min(np.diff(few)) <= 1
    assert notes == [f"Of 50 sample sheets there was room for {len(few)}; ganctl video shows all."]
    assert sheets(10) == []


def test_real_images_that_are_gone_are_said_to_be(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANCTL_CACHE", str(Path("no-cache").absolute()))
    result = cli("report", "run")
    assert result.code == 0
    assert "The real images are no longer in the cache" in result.out
    assert "no longer in the cache, so none are shown" in Tags("run/report.html").text


def test_equal_runs_give_equal_pages_and_nothing_else_is_written(cli: Cli, run: Path) -> None:
    before = sorted(run.rglob("*"))
    for name in ("a.html", "b.html"):
        assert cli("report", "run", "-o", name, "--quiet") == (0, "", "")
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    assert sorted(run.rglob("*")) == before


def test_what_cannot_be_written_or_read_gets_one_line(cli: Cli) -> None:
    make_run("r")
    Path("folder").mkdir()
    for arguments, words in (
        (["r", "-o", "nowhere/page.html"], "there is no folder nowhere"),
        (["r", "-o", "folder"], "folder/report.html"),
        (["missing"], "there is no run folder missing"),
        (["folder"], "neither a run folder nor a folder of them"),
    ):
        result = cli("report", *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), arguments
        assert words in result.err
    assert cli("report").code == 2


def test_without_the_plotting_library_there_is_one_line_that_says_how_to_get_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("r")

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(page, "distribution", missing)
    result = cli("report", "r")
    assert (result.code, result.out) == (1, "")
    assert result.err == "ganctl: ganctl report needs uplot-python: pip install 'ganctl[report]'\n"


def test_no_torch_and_not_the_package_around_the_library(run: Path) -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['uplot'] = None; from ganctl.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "report", "run", "-q"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path("run/report.html").exists()


ARGUMENTS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
ARGUMENTS = [f"--{argument}" for argument in [*ARGUMENTS, "disable-component-update", "disable-sync"]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium here to open the page with")
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright to drive Chromium with")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


class Opened:
    """A page in Chromium, and what it complained of and asked for."""

    def __init__(self, browser: Browser, path: str, width: int = 1280, scheme: Any = "light") -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.refused: list[tuple[str, str | None]] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.refused.append((request.url, request.failure)))
        self.url = Path(path).absolute().as_uri()
        self.page.goto(self.url)

    def check_silence(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith("data:")] == [self.url]

    def colours(self) -> list[int]:
        """How many colours each chart has."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            "[...document.querySelectorAll('.plot canvas')].map(canvas => {"
            "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            "return new Set(new Uint32Array(data.buffer)).size })"
        )

    def shown(self) -> list[str]:
        """The words of the sheets that are seen."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            "[...document.querySelectorAll('.sheets img')].filter(i => i.checkVisibility() && i.complete "
            "&& i.naturalWidth).map(i => i.alt)"
        )


def test_in_a_browser_the_slider_moves_the_picture_and_curves_answer_the_keyboard(
    cli: Cli, run: Path, browser: Browser
) -> None:
    write_rows(run, *(step(20 + n) for n in range(40)))
    assert cli("report", "run").code == 0
    opened = Opened(browser, "run/report.html")
    view = opened.page

    assert [words.rpartition(" ")[2] for words in opened.shown()] == ["4"]
    view.locator("#epoch").focus()
    view.keyboard.press("ArrowLeft")
    assert [words.rpartition(" ")[2] for words in opened.shown()] == ["3"]
    assert view.locator("#epoch").get_attribute("aria-valuetext") == "epoch 3"
    view.keyboard.press("Home")
    assert "before training" in opened.shown()[0]

    colours = opened.colours()
    assert len(colours) >= 5 and min(colours) > 5
    losses = view.locator(".chart").first
    losses.locator(".plot").focus()
    view.keyboard.press("End")
    view.keyboard.press("ArrowLeft")
    assert losses.locator(".at").inner_text() == "at 58"
    assert losses.locator(".legend b").first.inner_text() == "1.58"
    before = view.evaluate("charts[0].plot.scales.x.max - charts[0].plot.scales.x.min")
    view.keyboard.press("+")
    assert view.evaluate("charts[0].plot.scales.x.max - charts[0].plot.scales.x.min") < before
    view.keyboard.press("Escape")
    assert view.evaluate("charts[0].plot.scales.x.max - charts[0].plot.scales.x.min") == before

    button = losses.locator(".legend button").first
    button.focus()
    view.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert view.evaluate("charts[0].plot.series[1].show") is False

    view.locator("input[value=minutes]").check()
    assert view.evaluate("charts[0].plot.scales.x.max") == 59
    assert view.evaluate("charts[0].plot.series[1].show") is False
    assert view.locator("video").evaluate("async v => { await v.play(); v.pause(); return v.error }") is None
    opened.check_silence()


def test_every_control_is_reached_by_the_tab_key(cli: Cli, run: Path, browser: Browser) -> None:
    assert cli("report", "run").code == 0
    opened = Opened(browser, "run/report.html")
    reached = set()
    for _ in range(80):
        opened.page.keyboard.press("Tab")
        reached.add(
            opened.page.evaluate("(e => e.id || e.className || e.download || e.tagName)(document.activeElement)")
        )
    assert {"skip", "epoch", "plot", "SUMMARY", "config.toml", "scroll", "VIDEO", "BUTTON"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("number", [1, 3])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    cli: Cli, run: Path, browser: Browser, scheme: str, number: int
) -> None:
    others = [make_run(f"other-{n}-{'long' * 20}", [step(5), step(9)], ODD_CONFIG) for n in range(number - 1)]
    assert cli("report", "run", *others, "-o", "page.html").code == 0
    opened = Opened(browser, "page.html", 375, scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 375
    assert min(opened.colours()) > 3
    paper, ink = opened.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        ".map(colour => colour.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"
    )
    assert (paper < 150 < 600 < ink) if scheme == "dark" else (ink < 150 < 600 < paper)
    opened.check_silence()


def test_charts_are_drawn_anew_when_the_colours_change(cli: Cli, browser: Browser) -> None:
    make_run("r")
    assert cli("report", "r").code == 0
    opened = Opened(browser, "r/report.html")
    before = opened.page.evaluate("document.querySelector('canvas').toDataURL()")
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function("before => document.querySelector('canvas').toDataURL() !== before", arg=before)


def test_a_slider_moves_all_runs_and_one_that_ended_earlier_stays(cli: Cli, run: Path, browser: Browser) -> None:
    shutil.copytree(run, "short")
    for epoch in (3, 4):
        Run(Path("short")).sample(epoch).unlink()
    assert cli("report", "run", "short").code == 0
    opened = Opened(browser, "report.html")
    opened.page.locator("#epoch").press("ArrowLeft")
    assert [words.rpartition(" ")[2] for words in opened.shown()] == ["3", "2"]
    opened.page.locator("#epoch").press("Home")
    assert all("before training" in words for words in opened.shown())
    opened.check_silence()


def test_a_hostile_run_opens_clean(cli: Cli, run: Path, browser: Browser) -> None:
    hostile = make_hostile(run)
    assert cli("report", hostile, "-o", "one.html").code == 0
    assert cli("report", hostile, make_run("other"), "-o", "two.html").code == 0
    for path in ("one.html", "two.html"):
        for width in (1280, 375):
            opened = Opened(browser, path, width)
            opened.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
            assert opened.page.title() != "hit"
            assert opened.page.evaluate("document.documentElement.scrollWidth") == width
            assert SCRIPT in opened.page.locator("main").inner_text()
            assert min(opened.colours()) > 3
            opened.check_silence()


def test_even_a_script_that_got_into_the_page_would_not_run(cli: Cli, browser: Browser) -> None:
    make_run("r")
    assert cli("report", "r").code == 0
    text = Path("r/report.html").read_text()
    leak = f"{SCRIPT}<img src='https://example.invalid/x.png'>"
    Path("leak.html").write_text(text.replace("<footer>", f"<footer>{leak}"))
    opened = Opened(browser, "leak.html")
    assert opened.page.title() != "hit"
    assert "Content Security Policy" in "".join(opened.complaints)
    assert opened.refused == [("https://example.invalid/x.png", "csp")]
