"""FID, KID, the Inception Score, precision and recall are torch-fidelity's; weights are checked before they are read.

The real weights have to be downloaded, so a stand-in with random numbers takes their place.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from ganctl.api import Metric
from ganctl.data import download
from ganctl.errors import GanctlError
from ganctl.evaluation import SEED, Evaluator, Reals
from ganctl.features import inception
from ganctl.features.inception import LOGITS, POOL, Inception
from ganctl.metrics.fid import FID
from ganctl.metrics.inception_score import InceptionScore
from ganctl.metrics.kid import KID
from ganctl.metrics.prc import PRC

CPU = torch.device("cpu")
COUNT = 16
SUBSETS, SUBSET_SIZE, SPLITS, NEIGHBOURHOOD = 5, 8, 2, 1


class Weights(NamedTuple):
    path: Path
    digest: str


def silent(*args: object) -> None:
    pass


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A file like that of the real weights, with numbers by which images keep their variety up to the logits."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *args: object, **kwargs: object) -> None:
            pass

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    state = Blank("blank", ["2048"], feature_extractor_weights_path=nothing).state_dict()
    source = torch.Generator().manual_seed(0)
    for tensor in state.values():
        if tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=source) * (2 / tensor[0].numel()) ** 0.5)
    state["fc.weight"].mul_(25)
    path = tmp_path_factory.mktemp("inception") / "stand-in.pth"
    torch.save(state, path)
    return Weights(path, digest(path))


def patterns(seed: int, count: int = COUNT) -> np.ndarray:
    """Coarse patterns in colours of their own (N, 16, 16, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    return np.clip(coarse + 25 * seed + rng.integers(-20, 20, coarse.shape), 0, 255).astype(np.uint8)


def metrics(weights: Weights) -> list[Metric]:
    given = {"weights": weights.path, "weights_sha256": weights.digest}
    return [
        FID(**given),
        KID(**given, subsets=SUBSETS, subset_size=SUBSET_SIZE),
        InceptionScore(**given, splits=SPLITS),
        PRC(**given, neighbourhood=NEIGHBOURHOOD),
    ]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where torch-fidelity would keep its weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> Any:
        raise URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr(download, "urlopen", refuse)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Say which file whoever downloads gets, from whatever address."""

    class Response(io.BytesIO):
        length = 0

    def serve(path: Path) -> None:
        response = Response(path.read_bytes())
        response.length = path.stat().st_size
        monkeypatch.setattr(download, "urlopen", lambda *args, **kwargs: response)

    return serve


# ------------------------------------------------------------------------------------------------------ the figures
@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_figures_are_those_of_torch_fidelity(
    quick: bool,
    weights: Weights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import torch_fidelity
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    if quick:  # of what takes long, both get the same and less of it: the network's size, and a matrix's eigenvalues
        monkeypatch.setattr(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 107)
        monkeypatch.setattr(np.linalg, "eigvals", np.diag)
    found, sets = {}, {name: patterns(seed) for seed, name in enumerate(("real", "fake"))}
    for name, images in sets.items():
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{number:03}.png")
    theirs = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "fake"),
        input2=str(tmp_path / "real"),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights.path),
        fid=True,
        kid=True,
        kid_subsets=SUBSETS,
        kid_subset_size=SUBSET_SIZE,
        isc=True,
        isc_splits=SPLITS,
        prc=True,
        prc_neighborhood=NEIGHBOURHOOD,
        rng_seed=SEED,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no further processes
        verbose=False,
    )
    capfd.readouterr()

    look = Inception(weights=weights.path, sha256=weights.digest).load(CPU, silent)
    features = {name: look(torch.from_numpy(images).permute(0, 3, 1, 2)) for name, images in sets.items()}
    for metric in metrics(weights):
        real, fake = (metric.statistics(features[name]) for name in ("real", "fake"))
        found |= metric.figures(real, fake)
    assert found == pytest.approx(
        {
            "fid": theirs["frechet_inception_distance"],
            "kid": theirs["kernel_inception_distance_mean"],
            "is": theirs["inception_score_mean"],
            "f-score": theirs["f_score"],
            "precision": theirs["precision"],
            "recall": theirs["recall"],
        },
        rel=1e-4,
    )
    # The stand-in tells the images apart, or the comparison would prove nothing.
    assert abs(found["fid"]) > 0.1
    assert found["is"] > 1.01
    assert 0 < found["recall"] < 1 and found["precision"] != found["recall"]
    assert capfd.readouterr() == ("", "")


def test_grey_images_are_seen_as_colour_without_colours(weights: Weights) -> None:
    look = Inception(weights=weights.path, sha256=weights.digest).load(CPU, silent)
    grey = torch.from_numpy(patterns(0, 1)[..., :1]).permute(0, 3, 1, 2)
    assert torch.equal(look(grey), look(grey.repeat(1, 3, 1, 1)))


def test_metrics_share_one_pass_and_say_what_they_depend_on(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    seen = []

    def forward(self: object, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(images))
        flat = images.float().flatten(1)
        return flat[:, :200].repeat(1, 11)[:, :2048], flat[:, :252].repeat(1, 4)

    monkeypatch.setattr(FeatureExtractorInceptionV3, "forward", forward)
    reals = Reals(patterns(0), np.arange(COUNT), COUNT, "training images", "of the test for sharing")
    own = metrics(weights)[1:]  # FID takes a while on its own
    scores = Evaluator(own, reals, COUNT, CPU, silent).scores([patterns(1)], {}, silent)
    assert sum(seen) == 2 * COUNT
    assert [score.name for score in scores] == ["kid", "is", "f-score", "precision", "recall"]
    of = {score.name: score.protocol for score in scores}
    assert all(protocol["weights"] == weights.digest for protocol in of.values())
    assert not any(str(weights.path) in str(protocol) for protocol in of.values())
    assert of["kid"].items() >= {"layer": "2048", "subsets": SUBSETS, "subset_size": SUBSET_SIZE, "seed": SEED}.items()
    assert of["is"].items() >= {"layer": "logits_unbiased", "splits": SPLITS, "seed": SEED}.items()
    assert of["recall"].items() >= {"neighbourhood": NEIGHBOURHOOD}.items()
    # Real images have a score of their own: what a perfect generator would have.
    score = next(score for score in scores if score.name == "is")
    assert score.floor > 1
    assert not score.lower_is_better


def test_few_images() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    features = torch.randn(2, 9, 3056, generator=torch.Generator().manual_seed(0))
    real, fake = (KID().statistics(side) for side in features)
    whole = kid_features_to_metric(
        features[1, :, POOL], features[0, :, POOL], kid_subsets=1, kid_subset_size=9, verbose=False
    )
    assert KID().figures(real, fake)["kid"] == pytest.approx(whole["kernel_inception_distance_mean"], rel=1e-4)
    with pytest.raises(GanctlError, match=r"metric\.splits = 10, and has 9"):
        InceptionScore().statistics(features[0])
    with pytest.raises(GanctlError, match=r"metric\.neighbourhood = 9, and has 9"):
        PRC(neighbourhood=9).statistics(features[0])
    assert InceptionScore(splits=9).statistics(features[0])["logits"].equal(features[0, :, LOGITS])
    assert "2048" in FID().hints(reals=10_000, fakes=2000)[0]


# ------------------------------------------------------------------------------------------------------ the weights
class Mark:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("stated", ["official", "another", "its own"])
def test_a_pickle_that_does_something_is_refused(stated: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    path.write_bytes(pickle.dumps({"fc.weight": Mark(mark)}, protocol=2))
    sha256 = {"official": inception.SHA256, "another": "0" * 64, "its own": digest(path)}[stated]
    with pytest.raises(GanctlError) as refused:
        Inception(weights=path, sha256=sha256).load(CPU, silent)
    assert not mark.exists()
    assert "\n" not in str(refused.value)
    assert ("no state dict" if stated == "its own" else f"SHA-256 {digest(path)}, not {sha256}") in str(refused.value)
    pickle.loads(path.read_bytes())
    assert mark.exists()  # so it would have been left


def test_altered_weights_are_refused_before_they_are_read(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(weights.path.read_bytes())
    content[len(content) // 2] ^= 1
    altered = tmp_path / "altered.pth"
    altered.write_bytes(content)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("was loaded"))
    with pytest.raises(GanctlError, match=r"not loaded; .*metric\.weights_sha256"):
        Inception(weights=altered, sha256=weights.digest).load(CPU, silent)
    with pytest.raises(GanctlError, match="not loaded"):
        Inception(weights=weights.path).load(CPU, silent)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    for content in ({"weight": torch.zeros(3)}, [torch.zeros(3)]):
        torch.save(content, path)
        with pytest.raises(GanctlError, match="not those of Inception-v3"):
            Inception(weights=path, sha256=digest(path)).load(CPU, silent)


def test_download_shows_progress_and_is_kept(
    weights: Weights, hub: Path, site: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "SHA256", weights.digest)
    site(weights.path)
    seen: list[tuple[str, int, int | None]] = []
    Inception(sha256=weights.digest).load(CPU, lambda *stage: seen.append(stage))
    size = weights.path.stat().st_size
    steps = [done for what, done, total in seen if what.startswith("downloading weights-inception") and total == size]
    assert steps == sorted(steps)
    assert len(steps) > 10 and steps[-1] == size
    (kept,) = (hub / "checkpoints").iterdir()
    assert digest(kept) == weights.digest
    monkeypatch.setattr(download, "urlopen", lambda *args, **kwargs: pytest.fail("downloaded again"))
    Inception(sha256=weights.digest).load(CPU, silent)


def test_download_of_something_else_is_not_kept(hub: Path, site: Callable[[Path], None], tmp_path: Path) -> None:
    page = tmp_path / "login.html"
    page.write_text("Please accept our terms")
    site(page)
    with pytest.raises(GanctlError, match=f"what came has the SHA-256 {digest(page)}"):
        Inception().load(CPU, silent)
    assert not list((hub / "checkpoints").iterdir())


@pytest.mark.usefixtures("offline")
def test_missing_weights_without_a_network(cli: Any, pictures: Path, hub: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    result = cli("evaluate", pictures, "--data", pictures, "--metric", "fid")
    assert result.code == 1
    (line,) = result.err.splitlines()[-1:]
    by_hand = f"download {URL_INCEPTION_V3} by hand to {hub / 'checkpoints' / URL_INCEPTION_V3.rpartition('/')[2]}"
    for part in ("Network is unreachable", by_hand, "--set metric.weights=FILE", "--metric fd-efflite0 works"):
        assert part in line
    assert not list((hub / "checkpoints").iterdir())


@pytest.mark.usefixtures("offline", "hub")
def test_a_stated_digest_needs_a_file(cli: Any, pictures: Path) -> None:
    common = ("evaluate", pictures, "--data", pictures, "--metric", "is")
    result = cli(*common, "--set", f"metric.weights_sha256={'0' * 64}")
    assert result.code == 1
    assert "name the file with metric.weights" in result.err
    result = cli(*common, "--set", "metric.weights_sha256=6726825d")
    assert result.code == 1
    assert "metric.weights_sha256 = '6726825d'" in result.err
    result = cli(*common, "--set", "metric.weights=nowhere.pth")
    assert result.code == 1
    assert f"cannot read the weights {Path('nowhere.pth').absolute()}" in result.err


# ---------------------------------------------------------------------------------------------------- torch-fidelity
@pytest.fixture
def without_torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch_fidelity"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)


@pytest.mark.usefixtures("without_torch_fidelity")
def test_missing_extra(cli: Any, pictures: Path) -> None:
    result = cli("evaluate", pictures, "--data", pictures, "--metric", "prc")
    assert result.code == 1
    assert "pip install 'ganctl[metrics]'" in result.err.splitlines()[-1]


def test_metrics_are_shown_without_torch_fidelity() -> None:
    code = """
import contextlib, io, sys
sys.modules["torch_fidelity"] = None
from ganctl.cli import app
def run(*arguments):
    try:
        app(list(arguments))
    except SystemExit as end:
        assert not end.code, arguments
run("plugins")
assert "torch" not in sys.modules
for name in ("fid", "kid", "is", "prc"):
    run("show", "metric:" + name)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "metric.subset_size" in ran.stdout
