"""Weights of others: they are loaded only if their bytes are the ones that are known, and never as code."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import torch
from torch import Tensor

from ganctl.errors import GanctlError, plain


def load(path: Path, sha256: str, remedy: str) -> dict[str, Tensor]:
    """Return the state dict in the file at *path*, whose bytes have the digest *sha256*.

    Raise :class:`GanctlError`, which ends with *remedy*, where it cannot be read or has another digest; in that case
    nothing of it has been unpickled.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GanctlError(f"cannot read the weights {plain(path)}: {error.strerror}; {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise GanctlError(f"the weights {plain(path)} have the SHA-256 {found}, not {sha256}: not loaded; {remedy}")
    # What was hashed is what is loaded, even if somebody replaces the file meanwhile.
    try:
        state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = plain(str(error).partition("\n")[0])
        raise GanctlError(f"the weights {plain(path)} are no state dict of torch: {reason}; {remedy}") from error
    return state
