"""Inception-v3 as FID has it: the network of 2015 with its weights, through torch-fidelity.

torch-fidelity repeats TensorFlow's network and its way of resizing, and knows where the weights are. Here these are
fetched with progress, and their digest is checked before any of their bytes is read as a pickle, which torch-fidelity
does not do.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from ganctl import files
from ganctl.api import Extractor, Metric, Progress
from ganctl.data.download import download, reason
from ganctl.errors import GanctlError, plain
from ganctl.features import trusted

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the weights of 2015. The name under which they are published, weights-inception-2015-12-05-6726825d.pth, holds
its first eight digits, as is the custom of PyTorch's hub."""

NUMBERS = 2048
"""Of what FID calls features: the means of the last block's channels."""
POOL, LOGITS = slice(NUMBERS), slice(NUMBERS, None)
"""Where in a feature these are, and the logits. The two come from one pass, and logits cost next to nothing."""

WITHOUT = "--metric fd-efflite0 works without them"


class Inception(Extractor):
    """The pool's means and the logits without their bias, side by side (N, 2048 + 1008)."""

    weights: Path | None = None
    """torch-fidelity's own file if None."""
    sha256: str = SHA256

    def load(self, device: torch.device, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the network, its weights downloaded if need be.

        Raise :class:`GanctlError` where torch-fidelity is not installed, and where the weights cannot be had or are
        not those whose digest is stated.
        """
        progress("importing torch-fidelity", 0, None)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
        except ImportError as error:
            raise GanctlError(
                f"fid, kid, is and prc need torch-fidelity: pip install 'ganctl[metrics]'; {WITHOUT}"
            ) from error
        if self.weights:
            path = self.weights
            remedy = f"take the file from {URL_INCEPTION_V3}, or state the digest of your own: metric.weights_sha256"
        else:
            path = _own(URL_INCEPTION_V3, self.sha256, progress)
            remedy = "remove it to have it downloaded again"
        # torch-fidelity would unpickle a file that it is given. It gets one of tensors only, made from what is safe.
        clean = io.BytesIO()
        torch.save(trusted.load(path, self.sha256, f"{remedy}; {WITHOUT}"), clean)
        clean.seek(0)
        try:
            network = FeatureExtractorInceptionV3("", ["2048", "logits_unbiased"], feature_extractor_weights_path=clean)
        except (RuntimeError, TypeError) as error:
            why = plain(str(error).partition("\n")[0])
            raise GanctlError(f"the weights {plain(path)} are not those of Inception-v3: {why}") from error
        network.to(device)

        @torch.inference_mode()
        def look(images: Tensor) -> Tensor:
            return torch.cat(network(images.expand(-1, 3, -1, -1)), 1)

        return look

    def protocol(self) -> Mapping[str, Any]:
        """Name the network, its weights and what is done to images."""
        return {
            "extractor": "Inception-v3 of torch-fidelity",
            "weights": self.sha256,
            "resize": "299x299, bilinear as in TensorFlow 1",
            "precision": "float32",
        }


class InceptionMetric(Metric):
    """What metrics that compare features of Inception-v3 have in common."""

    layer: ClassVar[str] = "2048"
    """Which features it compares, as torch-fidelity calls them."""

    weights: Path | None = Field(default=None, description="file of Inception-v3's weights, in place of a download")
    weights_sha256: str = Field(
        default=SHA256,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the weights, without which they are not loaded; that of the weights of 2015",
    )

    @field_validator("weights")
    @classmethod
    def _from_anywhere(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    @field_validator("weights_sha256", mode="before")
    @classmethod
    def _in_small_letters(cls, digest: object) -> object:
        return digest.lower() if isinstance(digest, str) else digest

    def extractor(self) -> Extractor:
        """Return the network."""
        return Inception(weights=self.weights, sha256=self.weights_sha256)

    def protocol(self) -> Mapping[str, Any]:
        """Name the layer and the options; which weights it has, the extractor says, and where they lie matters not."""
        return {"layer": self.layer, **self.model_dump(mode="json", exclude={"weights", "weights_sha256"})}


def _own(address: str, sha256: str, progress: Progress) -> Path:
    """Return the file that torch-fidelity keeps, downloaded if it is not there."""
    if sha256 != SHA256:
        raise GanctlError(
            "metric.weights_sha256 is not the digest of the weights of 2015; name the file with metric.weights"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _by_hand(address, path, error) from error
    with files.replacing(path) as temporary:
        try:
            download(address, temporary, progress, path.name)
            with temporary.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, HTTPException) as error:
            raise _by_hand(address, path, error) from error
        if found != SHA256:
            raise _by_hand(address, path, ValueError(f"what came has the SHA-256 {found}, not {SHA256}"))
    return path


def _by_hand(address: str, path: Path, error: Exception) -> GanctlError:
    return GanctlError(
        f"cannot download Inception-v3's weights: {reason(error)}; download {address} by hand to {plain(path)}, "
        f"or name your copy with --set metric.weights=FILE; {WITHOUT}"
    )
