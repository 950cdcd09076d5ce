"""Whatever is fed to ganctl's parsers, they take it or refuse it in one line."""

from __future__ import annotations

import io
import json
import string
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ganctl import resolve, sweep, weights
from ganctl.data.check import inspect
from ganctl.data.decode import Target, decode
from ganctl.datasets.folder import Folder
from ganctl.errors import GanctlError
from ganctl.kernels import first_kernels
from ganctl.run import MetricsLog, Run

fuzzed = settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

KEYS = sorted({*resolve.resolve().sources,
    "data.size", "data.classes", "data.background", "data.limit", "arch.name", "arch.width", "arch.kernel", "loss.name",
    "loss.real_labels", "optim.g.lr", "optim.d.betas", "optim.g.name", "train.steps", "train.batch_size", "train.seed",
    "train.ema", "train.init", "train.device", "metric.name", "metric.images", "augment.colour",
})  # fmt: skip

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**64), 10**400, float("nan"), float("inf"), 1e308])
    | st.floats()
    | st.text(max_size=20)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
typed = st.text(max_size=40) | st.text(string.digits + "[]{}\"'=,.-e+_xnifau \n#", max_size=40)


def refused_in_one_line(parse: Callable[[], object]) -> None:
    """Whatever else *parse* does, it raises nothing but a :class:`GanctlError` of one line."""
    try:
        parse()
    except GanctlError as refusal:
        text = str(refusal)
        assert text
        assert "\n" not in text and "\x1b" not in text


@fuzzed
@given(st.sampled_from(KEYS), typed)
@example("train.steps", "9" * 5000)
@example("train.steps", "[" * 5000)
@example("train.steps", "0x" + "f" * 5000)
def test_set(key: str, text: str) -> None:
    def parse() -> None:
        name, value = resolve.parse_set(f"{key}={text}")
        resolve.resolve(resolve.Layer({name: value}), images=100)

    refused_in_one_line(parse)


@fuzzed
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=12), values, max_size=4))
def test_settings_of_any_type(chosen: dict[str, Any]) -> None:
    layer = resolve.Layer({key: resolve.Value(value, "recipe x") for key, value in chosen.items()})
    refused_in_one_line(lambda: resolve.resolve(recipe=layer, images=100))


TOML = [
    b"a = " + b"9" * 5000, b"a = " + b"[" * 10_000, b"a" + b".a" * 10_000 + b" = 1", b"[" + b"a." * 5000 + b"a]",
    b"\xff", b"a = {" * 3000, b"ganctl = 3", b"[ganctl]\nformat = 1e400", b"[ganctl]\nsources = [1]\n",
    b"data = [[1]]", b"data = 1",
    b"[data]\nsize = nan", b"[train]\nsteps = " + b"9" * 400, b"[optim.g]\nbetas = [[[1]]]", b"[arch.width]\nx = 1",
    b"[ganctl]\nformat = 1\npackages = [1]\nsources = 3",
]  # fmt: skip


@pytest.mark.parametrize("content", TOML, ids=range(len(TOML)))
def test_toml(content: bytes) -> None:
    path = Path("x.toml")
    path.write_bytes(content)
    refused_in_one_line(lambda: resolve.resolve(recipe=resolve.read_recipe(path), images=100))
    refused_in_one_line(lambda: sweep.read_sweep(path, resolve.Layer({})))
    Path("r").mkdir()
    path.rename("r/config.toml")
    refused_in_one_line(lambda: Run(Path("r")).tables())


@fuzzed
@given(st.binary(max_size=200) | typed.map(lambda text: text.encode(errors="surrogatepass")))
def test_bytes_for_toml(content: bytes) -> None:
    path = Path("x.toml")
    path.write_bytes(content)
    refused_in_one_line(lambda: resolve.resolve(recipe=resolve.read_recipe(path), images=100))
    refused_in_one_line(lambda: sweep.read_sweep(path, resolve.Layer({})))


@fuzzed
@given(st.dictionaries(st.sampled_from(sweep.KEYS), values, max_size=4))
def test_sweeps_of_any_type(tables: dict[str, Any]) -> None:
    path = Path("s.toml")
    try:
        path.write_text(tomli_w.dumps(tables))
    except (TypeError, ValueError):  # TOML has no null, and no lone surrogates
        return
    refused_in_one_line(lambda: sweep.read_sweep(path, resolve.Layer({})))


@fuzzed
@given(st.lists(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()), max_size=6))
@example([b"[" * 100_000])
@example([b"9" * 100_000])
@example([b'{"kind": "metric", "step": "x"}\n'])
def test_rows(lines: list[bytes]) -> None:
    run = Run(Path("r"))
    run.path.mkdir(exist_ok=True)
    run.metrics.write_bytes(b"\n".join(lines))
    assert all(isinstance(row, dict) for row in run.rows())
    with MetricsLog(run.metrics, keep=7) as log:
        log.append({"kind": "step"})
    assert list(run.rows())[-1] == {"kind": "step"}


def safetensors_file(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


headers = st.dictionaries(
    st.sampled_from(["layers.0.weight", "x", "__metadata__"]),
    values
    | st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F64", "BF16", "I64", "BOOL", "F8_E4M3", "x"]),
            "shape": st.lists(st.integers(-1, 2**62), max_size=3),
            "data_offsets": st.lists(st.integers(-1, 2**62), min_size=2, max_size=2),
        }
    )
    | st.fixed_dictionaries({"ganctl": typed | values.map(json.dumps)}),
    max_size=3,
)


@fuzzed
@given(headers, st.binary(max_size=64))
@example({"__metadata__": {"ganctl": "[" * 100_000}}, b"")
@example({"__metadata__": {"ganctl": "9" * 10_000}}, b"")
@example({"__metadata__": {"ganctl": '{"sha256": 3}'}}, b"")
@example({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"1234")
@example({"x": {"dtype": "F32", "shape": [], "data_offsets": [0, 2**60]}}, b"1234")
def test_weights(header: dict[str, Any], data: bytes) -> None:
    path = Path("x.safetensors")
    path.write_bytes(safetensors_file(json.dumps(header).encode(), data))
    refused_in_one_line(lambda: weights.load(path))
    refused_in_one_line(lambda: weights.read(path, "ganctl.checkpoint"))
    refused_in_one_line(lambda: first_kernels(path))


@fuzzed
@given(st.data())
def test_weights_that_were_changed_anywhere_are_refused(data: st.DataObject) -> None:
    import torch

    path = Path("x.safetensors")
    weights.save(path, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True)}, {"format": 1, "text": "x" * 30})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(weights.Unreadable):
        weights.read(path)


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


IMAGES = {form: encoded(form) for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA")}


@fuzzed
@given(st.sampled_from(sorted(IMAGES)), st.data())
def test_images(form: str, data: st.DataObject) -> None:
    content = bytearray(IMAGES[form])
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))

    def look() -> None:
        pixels, _ = decode(bytes(content), Target(8, 3))
        assert pixels.shape == (8, 8, 3)

    refused_in_one_line(look)


names = st.text(max_size=12) | st.sampled_from([
    "../x.png", "/etc/x.png", "a/b.png", "a\\b.png", "\x1b[2J.png", "[red].png", "a\nb.png", "C:/x.png", "con.png",
    "a/../../b.png", "x" * 300 + ".png",
])  # fmt: skip


@fuzzed
@given(st.lists(st.tuples(names, st.sampled_from([*IMAGES.values(), b"", b"PK\x03\x04"])), max_size=4), st.data())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips(entries: list[tuple[str, bytes]], data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name.encode(errors="replace").decode() or "x"), content)
    content = bytearray(buffer.getvalue())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 0xFF
    path = Path(f"z{data.draw(st.integers(0, 10**9))}.zip")
    path.write_bytes(content)

    def look() -> None:
        inspect(Folder(path=str(path)), "folder", Target(8, 3), lambda *_: None)

    refused_in_one_line(look)
    path.unlink()
