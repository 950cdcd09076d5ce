"""Films, decoded and looked at again."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageSequence

from ganctl import video
from ganctl.errors import GanctlError
from ganctl.run import Run
from ganctl.video import film_run, write_film

KINDS = [".mp4", ".webm", ".gif"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "films"
    folder.mkdir()
    return folder


def picture(number: int, width: int = 274, height: int = 260) -> np.ndarray:
    """A smooth colourful picture, which has large flat red, green and blue parts and differs for each number."""
    y, x = np.mgrid[0:height, 0:width]
    wave = 60 + 40 * np.sin(x / 40 + number)
    pixels = np.stack([wave, wave + 40 * y / height, 160 - wave], axis=-1)
    for channel in range(3):
        pixels[20:100, 20 + 80 * channel : 90 + 80 * channel] = np.eye(3)[channel] * 200 + 30
    return pixels.astype(np.uint8)


def make_run(folder: Path, numbers: range | list[int], size: tuple[int, int] = (274, 260), mode: str = "RGB") -> Path:
    (folder / "samples").mkdir(parents=True)
    rows = [{"kind": "step", "epoch": 1, "loss_g": 9, "loss_d": 9}]
    for number in numbers:
        Image.fromarray(picture(number, *size)).convert(mode).save(folder / f"samples/epoch-{number:04d}.png")
        rows.append({"kind": "epoch", "epoch": number, "loss_g": 1.234, "loss_d": 0.5})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines + '{"kind": "epoch", "epo')  # torn
    return folder


def decoded(path: Path) -> np.ndarray:
    if path.suffix != ".gif":
        return iio.imread(path, plugin="FFMPEG")
    with Image.open(path) as film:  # imageio's ffmpeg plugin takes no GIF
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)])


def rate(path: Path) -> float:
    """The frames per second that a player gets to see."""
    if path.suffix != ".gif":
        return float(iio.immeta(path, plugin="FFMPEG")["fps"])
    with Image.open(path) as film:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    return 1000 * len(durations) / sum(durations)


def sheet(run: Path, number: int) -> np.ndarray:
    return np.asarray(Image.open(run / f"samples/epoch-{number:04d}.png").convert("RGB"))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def one_line(error: pytest.ExceptionInfo[GanctlError]) -> str:
    text = str(error.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_each_sheet_is_shown_exactly_as_often_as_asked_and_looks_like_itself(place: Path, kind: str) -> None:
    run = make_run(place / "run", range(5))
    film = film_run(run, place / f"film{kind}", fps=24, hold=3, caption=False)
    frames = decoded(film.path)
    assert (film.frames, film.images, film.skipped, len(frames)) == (15, 5, (), 15)
    assert film.seconds == 15 / 24
    for place, frame in enumerate(frames):
        assert difference(frame, sheet(run, place // 3)) < (3 if kind == ".gif" else 2)
    # A wrong matrix or range shifts flat parts by far more than this.
    for channel in range(3):
        part = (slice(30, 90), slice(30 + 80 * channel, 80 + 80 * channel))
        assert np.abs(frames[4][part].mean((0, 1)) - sheet(run, 1)[part].mean((0, 1))).max() < 3


@pytest.mark.parametrize(("fps", "kind"), [(50, ".gif"), (12.5, ".gif"), (60, ".mp4"), (23.976, ".webm"), (7, ".mp4")])
def test_other_rates_lose_and_double_no_frame(place: Path, fps: float, kind: str) -> None:
    path = place / f"film{kind}"
    assert write_film(path, (picture(n) for n in range(9)), fps=fps, size=(274, 260)) == 9
    frames = decoded(path)
    assert len(frames) == 9
    assert all(difference(frame, picture(n)) < 3 for n, frame in enumerate(frames))
    assert rate(path) == pytest.approx(fps, abs=0.02)


def test_an_mp4_is_for_browsers(place: Path) -> None:
    write_film(place / "film.mp4", [picture(0)], fps=24, size=(274, 260))
    meta = iio.immeta(place / "film.mp4", plugin="FFMPEG")
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p(tv, bt709")
    data = (place / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first"


def test_a_gif_loops_for_ever(place: Path) -> None:
    write_film(place / "film.gif", [picture(0), picture(1)], fps=24, size=(274, 260))
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in (place / "film.gif").read_bytes()


def test_a_gif_stores_a_held_picture_once(place: Path) -> None:
    write_film(place / "short.gif", [picture(0), picture(1)], fps=24, size=(274, 260))
    frames = [picture(number) for number in (0, 1) for _ in range(20)]
    write_film(place / "long.gif", frames, fps=24, size=(274, 260))
    assert (place / "long.gif").stat().st_size < (place / "short.gif").stat().st_size + 38 * 50
    films = decoded(place / "short.gif"), decoded(place / "long.gif")
    assert len(films[1]) == 40
    assert difference(films[0].repeat(20, axis=0), films[1]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_odd_sides_are_padded_with_the_edge_and_not_rescaled(place: Path, kind: str) -> None:
    source = picture(2, 275, 261)
    write_film(place / f"film{kind}", [source] * 2, fps=24, size=(275, 261))
    frame = decoded(place / f"film{kind}")[0]
    assert frame.shape == ((261, 275, 3) if kind == ".gif" else (262, 276, 3))
    assert difference(frame[:261, :275], source) < 3
    assert difference(frame[-1, :275], source[-1]) < 6


def test_a_small_picture_is_enlarged_by_a_whole_factor_without_smoothing(place: Path) -> None:
    source = np.random.default_rng(0).choice([20, 22, 23, 160, 230], (30, 40, 1)).astype(np.uint8).repeat(3, axis=2)
    source[:, :20] = [200, 40, 60]
    for kind in KINDS:
        write_film(place / f"film{kind}", [source], fps=24, size=(40, 30))
        frame = decoded(place / f"film{kind}")[0]
        assert difference(frame, source.repeat(7, 0).repeat(7, 1)) < (0.01 if kind == ".gif" else 4)
    assert [video.enlargement(size) for size in ((1, 1), (100, 255), (128, 9), (256, 1), (9, 2000))] == [
        256,
        2,
        2,
        1,
        1,
    ]


def test_grey_sheets(place: Path) -> None:
    run = make_run(place, range(2), mode="L")
    frames = decoded(film_run(run, None, hold=2, caption=False).path)
    assert len(frames) == 4
    assert difference(frames[3], sheet(run, 1)) < 2
    assert np.ptp(frames.astype(int), axis=-1).max() < 6, "grey stays grey"


def test_a_caption_is_below_the_picture_and_changes_nothing_in_it(place: Path) -> None:
    run = make_run(place, [0, 7, 12])
    plain = decoded(film_run(run, place / "plain.mp4", hold=2, caption=False).path)
    captioned = decoded(film_run(run, place / "captioned.mp4", hold=2, caption=True).path)
    assert captioned.shape[1] > plain.shape[1]
    assert captioned.shape[2] == plain.shape[2]
    assert difference(captioned[:, : plain.shape[1]], plain) < 1
    strips = captioned[:, plain.shape[1] :].astype(int)
    assert strips.max() > 200, "light text"
    assert np.median(strips) < 40, "on a dark ground"
    assert np.abs(strips[0] - strips[1]).mean() < 1, "the same while a sheet is held"
    assert np.abs(strips[1] - strips[2]).mean() > 1, "another for the next"


@pytest.mark.parametrize("width", [20, 60, 100, 130, 200, 274, 530, 2066])
def test_a_caption_fits_and_stays_in_its_place(width: int) -> None:
    epochs = [0, 7, 1200]
    strip = video._Caption(width, epochs, {7: ("1.23", "0.98"), 1200: ("-12.34", "100.20")})
    drawn = [strip.draw(epoch) for epoch in epochs]
    assert {rows.shape for rows in drawn} == {(strip.height, width, 3)}
    ground = drawn[0][-1, -1]
    text = [(rows[strip.bar :] != ground).any(axis=(0, 2)).nonzero()[0] for rows in drawn]
    if width >= 60:  # below that even the number is cut
        assert all(columns.size and columns.max() < width - 2 and columns.min() > 2 for columns in text)
    assert max(len(row) for row in strip.texts.values()) == (3 if width > 200 else 1)
    bars = [int((rows[0, :, 2] > 200).sum()) for rows in drawn]
    assert bars == [0, round(width * 7 / 1200), width]


def test_a_caption_says_epoch_and_losses(place: Path) -> None:
    run = make_run(place, [3])
    losses = video._losses(Run(run))
    assert losses == {3: ("1.23", "0.50")}, "the torn line and the steps are skipped"
    assert video._Caption(600, [0, 3], losses).texts == {
        0: ["epoch 0", "", ""],
        3: ["epoch 3", "loss G 1.23", "loss D 0.50"],
    }
    (run / "metrics.jsonl").write_text('[]\n{"kind": "epoch", "epoch": 3, "loss_g": NaN, "loss_d": 12345.6}\n\n3\n')
    assert video._losses(Run(run)) == {3: ("nan", "1.23e+04")}
    assert video._losses(Run(place / "none")) == {}


def test_epochs_are_in_numeric_order(place: Path) -> None:
    run = make_run(place, [10000, 2, 9999, 0])
    Image.new("RGB", (274, 260)).save(run / "samples/epoch-best.png")  # not an epoch's
    frames = decoded(film_run(run, None, hold=1, caption=False).path)
    assert len(frames) == 4
    for frame, number in zip(frames, [0, 2, 9999, 10000], strict=True):
        assert difference(frame, sheet(run, number)) < 2


def test_a_broken_sheet_is_left_out_and_named(place: Path) -> None:
    run = make_run(place, range(4))
    broken = [run / "samples/epoch-0000.png", run / "samples/epoch-0002.png"]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:-200])
    film = film_run(run, None, hold=2, caption=True)
    assert (film.images, film.frames, film.skipped) == (2, 4, tuple(broken))
    frames = decoded(film.path)
    assert len(frames) == 4
    assert difference(frames[2][:260], sheet(run, 3)) < 2


def test_a_sheet_of_another_size_is_fitted_into_the_first(place: Path) -> None:
    run = make_run(place, range(2), size=(260, 260))
    Image.new("RGB", (130, 65), (200, 100, 50)).save(run / "samples/epoch-0002.png")
    frames = decoded(film_run(run, None, hold=1, caption=False).path)
    assert frames.shape == (3, 260, 260, 3)
    assert np.abs(frames[2][80:180].mean((0, 1)) - [200, 100, 50]).max() < 4
    assert frames[2][:50].max() < 12


@pytest.mark.parametrize(
    ("sheets", "fps", "hold"), [(1, 24, 12), (16, 24, 12), (20, 24, 10), (200, 24, 1), (500, 24, 1), (3, 1, 1)]
)
def test_a_film_lasts_about_eight_seconds(
    place: Path, monkeypatch: pytest.MonkeyPatch, sheets: int, fps: float, hold: int
) -> None:
    (place / "samples").mkdir()
    for number in range(sheets):
        (place / f"samples/epoch-{number:04d}.png").touch()
    monkeypatch.setattr(video, "_read", lambda file: Image.new("RGB", (256, 16)))
    monkeypatch.setattr(video, "write_film", lambda path, frames, **_: len(list(frames)))
    film = film_run(place, None, fps=fps, caption=False)
    assert film == (place / "video.mp4", sheets * hold, sheets, sheets * hold / fps, ())


@pytest.mark.parametrize("kind", [".mp4", ".gif"])
@pytest.mark.parametrize("failure", [RuntimeError("no more"), KeyboardInterrupt(), OSError("disk gone")])
def test_a_failure_leaves_the_old_film_and_nothing_else(
    place: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, kind: str
) -> None:
    started = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])
    (place / f"film{kind}").write_bytes(b"old")

    def frames() -> Iterator[np.ndarray]:
        yield picture(0)
        assert len(list(place.iterdir())) == 2, "the new film is written beside the old"
        raise failure

    with pytest.raises(type(failure)) as error:
        write_film(place / f"film{kind}", frames(), fps=24, size=(274, 260))
    assert error.value is failure
    assert [(file.name, file.read_bytes()) for file in place.iterdir()] == [(f"film{kind}", b"old")]
    assert kind == ".gif" or started[-1].returncode is not None, "ffmpeg has ended"


def test_frames_are_pulled_one_at_a_time(place: Path) -> None:
    pulled, written = 0, 0
    ahead = []

    def frames() -> Iterator[np.ndarray]:
        nonlocal pulled
        for number in range(60):
            pulled += 1
            ahead.append(pulled - written)
            yield picture(number)

    def progress(done: int, total: int | None) -> None:
        nonlocal written
        written = done
        assert total == 60

    write_film(place / "film.mp4", frames(), fps=24, size=(274, 260), total=60, progress=progress)
    assert (pulled, written) == (60, 60)
    assert max(ahead) == 1


def test_few_sheets_are_decoded_ahead_of_the_film(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(place, range(30), size=(256, 16))
    read, lock, ahead, seen = [], threading.Lock(), [], []
    original = video._read

    def reading(file: Path) -> Image.Image | None:
        with lock:
            read.append(file)
        return original(file)

    def progress(done: int, total: int | None) -> None:
        ahead.append(len(read) - done)
        seen.append(total)

    monkeypatch.setattr(video, "_read", reading)
    film_run(run, None, hold=1, caption=False, progress=progress)
    assert len(read) == 31, "the first one twice, for its size"
    assert max(ahead) <= video.AHEAD + 2
    assert set(seen) == {30}


def test_ffmpegs_failure_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(video._CODEC, ".mp4", "-c:v libx264 -preset wrong -f mp4")
    with pytest.raises(GanctlError) as error:
        write_film(place / "film.mp4", (picture(n) for n in range(50)), fps=24, size=(274, 260))
    assert "film.mp4: ffmpeg says: " in one_line(error)
    assert "@ 0x" not in one_line(error)
    assert not list(place.iterdir())


def test_the_last_thing_that_ffmpeg_says_is_what_counts() -> None:
    said = b"[libx264 @ 0x1f] no\n[out#0/mp4 @ 0x55d] [mp4 @ 0x2] disk \xff full\x1b[2J \nConversion failed!\n\n"
    assert video._last_words(io.BytesIO(said)) == "disk \ufffd full\\x1b[2J"
    assert video._last_words(io.BytesIO(b"\n")) == "nothing"


def test_ffmpeg_that_is_not_there_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(place / "no-ffmpeg"))
    with pytest.raises(GanctlError, match=r"ffmpeg does not start.*IMAGEIO_FFMPEG_EXE") as error:
        write_film(place / "film.mp4", [picture(0)], fps=24, size=(274, 260))
    one_line(error)
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("film.avi", 24, r"film.avi: .*\.mp4, \.webm or \.gif"),
        ("film", 24, r"\.mp4, \.webm or \.gif"),
        ("none/film.mp4", 24, "there is no folder .*none"),
        ("file/film.mp4", 24, "there is no folder .*file"),
        ("folder.mp4", 24, "it is a folder"),
        ("film.gif", 60, "0.1 to 50"),
        ("film.mp4", 0, "0.1 to 240"),
        ("film.mp4", float("nan"), "0.1 to 240"),
    ],
)
def test_what_cannot_be_written_is_one_line(place: Path, name: str, fps: float, message: str) -> None:
    (place / "folder.mp4").mkdir()
    (place / "file").touch()
    with pytest.raises(GanctlError, match=message) as error:
        write_film(place / name, [picture(0)], fps=fps, size=(274, 260))
    one_line(error)
    assert {file.name for file in place.iterdir()} == {"folder.mp4", "file"}


def test_what_cannot_be_filmed_is_one_line(place: Path) -> None:
    def message(run: Path, hold: int | None = None) -> str:
        with pytest.raises(GanctlError) as error:
            film_run(run, None, hold=hold, caption=True)
        return one_line(error)

    assert "none is not a folder" in message(place / "none")
    assert "has no samples/epoch-*.png" in message(place)
    run = make_run(place / "run", [0])
    assert "hold 0" in message(run, hold=0)
    (run / "samples/epoch-0000.png").write_bytes(b"PNG")
    assert "no sheet can be read" in message(run)


def test_frames_of_a_wrong_size_are_refused(place: Path) -> None:
    with pytest.raises(ValueError, match="274"):
        write_film(place / "film.mp4", [picture(0)], fps=24, size=(260, 274))
    assert not list(place.iterdir())


def test_no_frames_are_no_film(place: Path) -> None:
    with pytest.raises(GanctlError, match="there is no frame to film"):
        write_film(place / "film.mp4", [], fps=24, size=(274, 260))
    assert not list(place.iterdir())


def test_names_that_look_like_options_or_addresses(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "a:b").mkdir()
    for name in ("-y.mp4", "a:b/c:d %03d.mp4", "FILM.MP4"):
        write_film(Path(name), [picture(0)], fps=24, size=(274, 260))
        assert len(decoded(place / name)) == 1
