"""Tensors that took long to compute, kept in the cache folder under all that they depend on."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ganctl import files
from ganctl.data.cache import cache_folder

_FORMAT = 1
"""Counts up when ganctl computes the same in another way."""


def remembered(key: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return what *make* returned when it was last asked for *key*, which is of plain types; else ask it.

    Where the cache folder cannot be written to, it will be asked again next time.
    """
    text = json.dumps({"format": _FORMAT} | dict(key), sort_keys=True)
    path = cache_folder() / "remembered" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError):  # there is none, or somebody changed it
        tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    with suppress(OSError, files.CannotWrite):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            # Not save_file, which makes files that only their owner may read.
            temporary.write_bytes(safetensors.torch.save(tensors))
    return tensors


def code_of(thing: object) -> str:
    """Return the digest of the file that the class of *thing* is in: what it computes changes with that."""
    return hashlib.sha256(Path(inspect.getfile(type(thing))).read_bytes()).hexdigest()
