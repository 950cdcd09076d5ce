"""Images stream from a Hub, here one that a thread plays; it is asked once, and what it said is kept."""

from __future__ import annotations

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def parquet(start: int) -> bytes:
    images = []
    for number in range(start, start + 6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file := io.BytesIO(), "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["even", "odd"]}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": [n % 2 for n in range(start, start + 6)]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, sink := io.BytesIO())
    return sink.getvalue()


FILES = {"README.md": b"# Things\n", **{f"data/train-{n}.parquet": parquet(6 * n) for n in range(2)}}


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as one data set in parquet takes."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if path.startswith("/api/datasets/some/things/tree/"):
            self.tell(self.tree(path.partition("/tree/")[2].partition("/")[2]))
        elif path.startswith("/api/datasets/some/things"):
            self.tell({"id": "some/things", "sha": COMMIT, "tags": [], "siblings": [{"rfilename": f} for f in FILES]})
        elif (file := path.partition(f"/resolve/{COMMIT}/")[2]) in FILES:
            self.send_file(FILES[file])
        else:
            self.tell({"error": "not found"}, 404)

    do_HEAD = do_GET

    def tree(self, folder: str) -> list[dict[str, Any]]:
        if folder:
            found = [name for name in FILES if name.startswith(folder + "/")]
        else:
            found = [name for name in FILES if "/" not in name]
        files = [{"type": "file", "path": name, "size": len(FILES[name]), "oid": "0" * 40} for name in found]
        return files if folder else [*files, {"type": "directory", "path": "data", "size": 0, "oid": "0" * 40}]

    def tell(self, content: object, code: int = 200) -> None:
        self.answer(code, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def send_file(self, content: bytes) -> None:
        headers = {"ETag": f'"{len(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if span := self.headers.get("Range"):
            first, last = span.partition("=")[2].split("-")
            end = min(int(last) + 1 if last else len(content), len(content))
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
            self.answer(206, content[int(first) : end], headers)
        else:
            self.answer(200, content, headers)

    def answer(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[http.server.ThreadingHTTPServer]:
    Hub.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_data_set_on_the_hub(hub: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    env = {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}
    env["GANCTL_CACHE"] = str(tmp_path / "cache")
    options = ["--set", "data.path=some/things", "--set", "data.first=9", "--size", "16", "--set", "arch.width=4"]

    def ganctl(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ganctl", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)

    # Nothing is fetched to say what a training would be.
    dry = ganctl("train", "--data", "huggingface", *options, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "first needs images of some/things from the Hugging Face Hub" in dry.stdout + dry.stderr
    assert Hub.asked == []
    done = ganctl("train", "--data", "huggingface", *options, "--set", "train.steps=2", "--batch-size", "4")
    assert done.returncode == 0, done.stderr
    (manifest,) = (tmp_path / "cache" / "packs").glob("*/manifest.json")
    packed = json.loads(manifest.read_text())
    assert (packed["count"], packed["classes"], packed["broken"]) == (9, ["even", "odd"], [])
    assert not list((tmp_path / "hub").rglob("*.parquet"))
    # The pack, and what was said of it, are all that a second training takes.
    hub.shutdown()
    hub.server_close()
    options += ["--set", "train.steps=1", "--batch-size", "2", "--set", "data.classes=odd", "--out", "again"]
    again = ganctl("train", "--data", "huggingface", *options)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "cache" / "packs").iterdir())) == 1
