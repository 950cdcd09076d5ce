"""Exported generators: one safetensors file that is usable alone. Its header says what to build; it holds no code.

The header holds no time, path or host, so that equal runs export equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from ganctl import files, registry
from ganctl.api import Architecture, DataSpec
from ganctl.config import Settings
from ganctl.errors import GanctlError, plain
from ganctl.run import FORMAT, check_format

LONGEST_HEADER = 2**24
"""Bytes of a file's header. Ours have a thousandth of it, and a hostile one could hold more than there is memory."""


class Unreadable(GanctlError):
    """A file that is damaged, or of another kind."""


class Header(BaseModel):
    """What an exported file says of itself, in its metadata under ``ganctl``."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    architecture: str
    package: str
    version: str
    options: dict[str, Any]
    data: DataSpec
    ema: bool = Field(description="whether these are the averaged weights")
    step: int
    images: int


class Trained(NamedTuple):
    """A generator that was read from a file, in eval mode, and what it was built from."""

    network: nn.Module
    architecture: Architecture
    header: Header


def header(settings: Settings, *, ema: bool, step: int, images: int) -> Header:
    """Describe the generator of *settings* after *step* generator steps."""
    entry = settings.entries["arch"]
    options = settings.architecture.model_dump(mode="json")
    return Header(
        architecture=entry.name, package=entry.package, version=entry.version, options=options,
        data=settings.spec, ema=ema, step=step, images=images,
    )  # fmt: skip


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], key: str = "ganctl") -> None:
    """Write *tensors* and the JSON *about* them to *path*, whole or not at all, and a digest of both."""
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    contiguous = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    about = dict(about) | {"sha256": _digest(contiguous, about)}
    with files.replacing(path) as temporary:
        # Not save_file, which makes files that only their owner may read.
        temporary.write_bytes(safetensors.torch.save(contiguous, {key: json.dumps(about, sort_keys=True)}))


def read(path: Path, key: str = "ganctl") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote. Raise :class:`Unreadable` for a file that is missing, torn or of another kind."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        # A safetensors file begins with the length of its header, in eight bytes that may be any, and the header.
        if start[8:] != b"{" and start[:1] in (b"P", b"\x80"):
            raise Unreadable(f"{plain(path)} is a pickle, which could run code; ganctl reads only safetensors files")
        if LONGEST_HEADER < (length := int.from_bytes(start[:8], "little")) < path.stat().st_size:
            raise Unreadable(f"{plain(path)} was not written by ganctl: its header is of {length:,} bytes")
        with safetensors.safe_open(path, framework="pt") as file:
            about = dict(json.loads((file.metadata() or {})[key]))
            digest = about.pop("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except OSError as error:
        raise Unreadable(f"cannot read {plain(path)}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise Unreadable(f"{plain(path)} is not a safetensors file, or is not all there: {plain(error)}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"{plain(path)} was not written by ganctl: its header does not say what to build") from error
    if digest != _digest(tensors, about):
        raise Unreadable(f"{plain(path)} is damaged: its content is not what was written")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Return the SHA-256 of contiguous *tensors*, their names, types and shapes, and what is said *about* them."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_header(path: Path) -> tuple[dict[str, Tensor], Header]:
    """Read an exported generator's tensors and header. Raise :class:`GanctlError` where it is not one."""
    tensors, about = read(path)
    check_format(about, path)
    try:
        return tensors, Header.model_validate(about)
    except ValidationError as error:
        raise GanctlError(
            f"{plain(path)} is not an exported generator: its header does not say what to build"
        ) from error


def load(path: Path) -> Trained:
    """Rebuild the generator in the file at *path*. Raise :class:`GanctlError` where that cannot be done."""
    tensors, about = read_header(path)
    try:
        plugin = cast("type[Architecture]", registry.load("architecture", about.architecture))
    except GanctlError as error:
        raise GanctlError(f"{plain(path)} needs {about.package} {about.version}: {error}") from error
    try:
        architecture = plugin.model_validate(about.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise GanctlError(
            f"{plain(path)} was made by {about.package} {about.version}: its option {first['loc'][0]} does not fit the "
            f"installed {about.architecture}: {first['msg']}"
        ) from error
    outside = torch.get_rng_state()
    # Once without memory, of which a hostile header may ask for more than there is: its tensors are as small as it is.
    with suppress(NotImplementedError, RuntimeError), torch.device("meta"):
        check(architecture.build(about.data).generator, tensors, path)
    generator = architecture.build(about.data).generator
    torch.set_rng_state(outside)
    fit(generator, tensors, path)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise GanctlError(f"{plain(path)} cannot draw: some of its weights are not finite numbers")
    return Trained(generator.to(memory_format=torch.channels_last).eval(), architecture, about)


def fit(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load *tensors* into *network*. Raise :class:`GanctlError` as :func:`check` does."""
    check(network, tensors, path)
    network.load_state_dict(dict(tensors))


def check(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise :class:`GanctlError` for the first of *tensors* that *network* lacks, has besides, or has otherwise."""
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise GanctlError(f"{plain(path)} does not fit the network: it has no {plain(name)}")
        if name not in wanted:
            raise GanctlError(f"{plain(path)} does not fit the network, which has no {plain(name)}")
        if wanted[name].shape != tensors[name].shape:
            raise GanctlError(
                f"{plain(path)} does not fit the network: {plain(name)} is {tuple(tensors[name].shape)}, "
                f"not {tuple(wanted[name].shape)}; give the same size, channels and options as its run had"
            )
