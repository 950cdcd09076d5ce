"""Images in parquet: on the Hugging Face Hub, streamed, or in files here."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import AfterValidator, Field

from ganctl.api import Dataset, Description, Progress, Record
from ganctl.errors import GanctlError, did_you_mean, plain

_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in the names of files that say which split these are of, as the library `datasets` reads them."""

_MOST_CLASSES = 10_000
_LOOKED_AT = 16


def _place(path: str) -> str:
    """Return what is a path here as an absolute one, and a name on the Hub as it is."""
    here = Path(path).expanduser()
    if here.exists() or path.endswith(".parquet") or not _ON_THE_HUB.fullmatch(path):
        return str(here.absolute())
    return path


class Columns(NamedTuple):
    """What is known of a data set without its images."""

    image: str
    label: str
    """Empty where there are no classes."""
    classes: tuple[str, ...]
    values: tuple[int | str, ...]
    """What stands for each class in the column; the number of a class is its place."""
    rows: int | None
    channels: Literal[1, 3]
    commit: str
    """On the Hub; empty for files here."""


class HuggingFace(Dataset):
    """Images of a data set on the Hugging Face Hub, streamed, or of parquet files here.

    They are read through the library datasets, in order; only what is packed of them is kept.
    """

    api_version = 1

    path: Annotated[str, AfterValidator(_place)] = Field(
        description="a data set on the Hub, such as ylecun/mnist, or a file or folder of parquet"
    )
    subset: str | None = Field(default=None, description="which of the Hub's subsets, where there are several")
    split: str = Field(default="train", description="which split; of a folder, the files' names say which they are of")
    image: str | None = Field(default=None, description="the column of images; by default the only one of that type")
    label: str | None = Field(
        default=None, description="the column of classes; by default the only ClassLabel; empty for none"
    )
    first: int | None = Field(default=None, ge=2, description="stop after so many rows; by default after the last")
    revision: str | None = Field(default=None, description="a branch, tag or commit of the Hub; by default the newest")

    def describe(self) -> Description:
        """Say what the files' metadata say, or what the Hub said when it was asked; that comes with the images."""
        columns = self._columns()
        if columns is None:
            return Description(None, needs=f"images of {plain(self.path)} from the Hugging Face Hub")
        return Description(columns.rows, columns.classes, columns.channels)

    def prepare(self, progress: Progress) -> None:
        """Ask the Hub what there is, once. Raise :class:`GanctlError` where it does not say."""
        if self._columns() is None:
            progress("asking the Hugging Face Hub", 0, None)
            _write(self._answer, json.dumps(self._ask()._asdict()))

    def records(self) -> Iterator[Record]:
        """Yield the images in the order of their rows. Raise :class:`GanctlError` where one cannot be read on."""
        columns = self._columns()
        if columns is None:
            raise GanctlError(f"{plain(self.path)} is not fetched from the Hugging Face Hub yet")
        numbers = {value: number for number, value in enumerate(columns.values)}
        number = 0
        try:
            rows = self._rows(columns.commit).select_columns([columns.image, *([columns.label] * bool(columns.label))])
            for number, row in enumerate(islice(_undecoded(rows, columns.image), self.first)):
                label = numbers.get(row[columns.label]) if columns.label else 0
                if label is None:
                    raise GanctlError(
                        f"row {number} of {plain(self.path)} has no class ({columns.label} = "
                        f"{plain(row[columns.label])}); choose another data.split, or --set data.label='' for none"
                    )
                image = row[columns.image]
                yield Record(f"row {number}", label, image.get("bytes") if isinstance(image, dict) else image)
        except GanctlError:
            raise
        except Exception as error:  # whatever pyarrow, the network or the Hub is unhappy with
            raise GanctlError(f"{plain(self.path)} cannot be read on after row {number}: {_reason(error)}") from error

    def read(self, record: Record, size: int) -> bytes | Image.Image:
        """Return a row's image. Raise :class:`GanctlError` where there is none."""
        if not record.image:
            raise GanctlError("the row holds no image")
        return record.image

    def fingerprint(self) -> str:
        """Return a hash of the options, and of the files' names, sizes and times, or of the commit on the Hub."""
        columns = self._columns()
        state = _stamps(self._files()) if self._is_here else columns and columns.commit
        return hashlib.sha256(f"{self.model_dump_json()} {state}".encode()).hexdigest()

    @property
    def _is_here(self) -> bool:
        return Path(self.path).is_absolute()

    @property
    def _answer(self) -> Path:
        """Where it is kept what the Hub said: beside what the Hub's own library keeps."""
        home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
        return home / "ganctl" / f"{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]}.json"

    def _columns(self) -> Columns | None:
        """Return what is known, or None where the Hub has not been asked yet."""
        if self._is_here:
            files = self._files()
            return _columns_of(self, files, _stamps(files))
        try:
            told = json.loads(self._answer.read_text(encoding="utf-8"))
            return Columns(**told | {"classes": tuple(told["classes"]), "values": tuple(told["values"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _files(self) -> tuple[Path, ...]:
        return _parquet(Path(self.path), self.split)

    def _ask(self) -> Columns:
        """Return what the Hub says of the data set."""
        try:
            from huggingface_hub import HfApi

            commit = HfApi().dataset_info(self.path, revision=self.revision).sha or ""
            rows = self._rows(commit)
            features = rows.features.to_dict() if rows.features else {}
            image, label, names = _chosen(self, features)
            values: Sequence[int | str] = range(len(names))
            if label and not names:
                labels = islice(rows.select_columns([label]), self.first)
                names, values = _classes({row[label] for row in labels})
            splits = rows.info.splits or {}
            count = splits[self.split].num_examples if self.split in splits else None
        except GanctlError:
            raise
        except Exception as error:  # several libraries' own, for a Hub that is away or has no such thing
            raise GanctlError(
                f"no {plain(self.path)} here, and it cannot be had from the Hugging Face Hub: {_reason(error)}"
            ) from error
        # 3 channels, for nobody can know before an image is here.
        return Columns(image, label, names, tuple(values), _least(count, self.first), 3, commit)

    def _rows(self, commit: str) -> Any:
        """Return the rows as they stream."""
        import datasets

        datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
        if self._is_here:
            files = {self.split: [str(file) for file in self._files()]}
            return datasets.load_dataset("parquet", data_files=files, split=self.split, streaming=True)
        builder = datasets.load_dataset_builder(self.path, self.subset, revision=commit)
        if "parquet" not in type(builder).__module__.split("."):
            raise GanctlError(
                f"{plain(self.path)} is not in parquet on the Hub, which has made a copy that is: "
                "--set data.revision=refs/convert/parquet"
            )
        return builder.as_streaming_dataset(split=self.split)


def _undecoded(rows: Any, image: str) -> Any:
    """Return *rows* whose images stay as they are in their files."""
    import datasets

    is_image = rows.features is not None and isinstance(rows.features[image], datasets.Image)
    return rows.cast_column(image, datasets.Image(decode=False)) if is_image else rows


@lru_cache(maxsize=4)
def _columns_of(dataset: HuggingFace, files: tuple[Path, ...], stamps: object) -> Columns:
    """Return what the metadata of *files* say, and the headers of a few images; *stamps* tell whether they changed."""
    try:
        features = _features(pq.read_schema(files[0]))
        image, label, names = _chosen(dataset, features)
        values: Sequence[int | str] = range(len(names))
        if label and not names:
            columns = (pq.read_table(file, columns=[label], partitioning=None)[label].unique() for file in files)
            names, values = _classes({value for column in columns for value in column.to_pylist()})
        count = sum(pq.read_metadata(file).num_rows for file in files)
        # A little at a time: a group of rows may be of some 100 MB.
        with pq.ParquetFile(files[0], buffer_size=1 << 16) as file:
            head = next(file.iter_batches(_LOOKED_AT, columns=[image]), None)
        images = head.column(0).to_pylist() if head else []
    except (OSError, pa.ArrowException) as error:
        raise GanctlError(f"{plain(dataset.path)} is damaged, or not parquet: {_reason(error)}") from error
    grey = all(_is_grey(image.get("bytes") if isinstance(image, dict) else image) for image in images)
    return Columns(image, label, names, tuple(values), _least(count, dataset.first), 1 if grey else 3, "")


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return the columns' types as the library datasets writes them into files, or what Arrow's types suggest."""
    try:
        return dict(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError):
        return {field.name: {"_type": "Value", "dtype": _dtype(field.type)} for field in schema}


def _dtype(kind: pa.DataType) -> str:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    if pa.types.is_struct(kind) and any(field.name == "bytes" for field in kind):
        return "binary"
    return str(kind)


def _chosen(dataset: HuggingFace, features: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Return the names of the columns of images and of labels, and those of classes where the labels' type has them."""
    types = {name: kind if isinstance(kind, dict) else {} for name, kind in features.items()}
    for option, name in (("image", dataset.image), ("label", dataset.label)):
        if name and name not in types:
            raise GanctlError(
                f"data.{option}: {plain(dataset.path)} has no column {plain(name)!r}{did_you_mean(name, types)}"
            )
    images = [name for name, kind in types.items() if kind.get("_type") == "Image"]
    images = images or [name for name, kind in types.items() if kind.get("dtype") in ("binary", "large_binary")]
    labels = [name for name, kind in types.items() if kind.get("_type") == "ClassLabel"]
    image = dataset.image or _only("image", images, dataset, types)
    label = dataset.label if dataset.label is not None else _only("label", labels, dataset, types) if labels else ""
    if not label:
        return image, "", ()
    names = tuple(types[label].get("names", ()))
    if not names and not re.match("u?int|string|large_string", str(types[label].get("dtype"))):
        raise GanctlError(f"data.label: the column {plain(label)} holds no classes; choose another, or '' for none")
    return image, label, names


def _only(option: str, found: list[str], dataset: HuggingFace, types: Mapping[str, Any]) -> str:
    if len(found) == 1:
        return found[0]
    what = "several columns" if found else "no column"
    raise GanctlError(
        f"{plain(dataset.path)} has {what} of the type of data.{option}: choose one of "
        f"{', '.join(map(plain, found or types))} with --set data.{option}=..."
    )


def _classes(values: set[Any]) -> tuple[tuple[str, ...], list[int | str]]:
    """Return the names of classes that a column's distinct *values* are, and the values, in order."""
    values.discard(None)
    if len(values) > _MOST_CLASSES:
        raise GanctlError(f"data.label: more than {_MOST_CLASSES} different ones are no classes; choose another column")
    ordered = sorted(values)
    return tuple(map(str, ordered)), ordered


def _parquet(path: Path, split: str) -> tuple[Path, ...]:
    """Return the parquet files of *split* at *path*."""
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise GanctlError(f"no such file or folder: {plain(path)}")
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise GanctlError(
            f"no parquet in {plain(path)}; name a file or folder with *.parquet, or a data set on the Hub"
        )
    words = {file: set(re.split("[^a-z]+", str(file.relative_to(path)).lower())) for file in files}
    of_split = {
        name: tuple(file for file in files if words[file] & set(known))
        for name, known in {split: (split.lower(),), **_SPLITS}.items()
    }
    named = {name for name, found in of_split.items() if found}
    if split in named:
        return of_split[split]
    if not named and split == "train":
        return tuple(files)
    raise GanctlError(f"data.split: {plain(path)} has no {plain(split)!r}{did_you_mean(split, named or {'train'})}")


def _stamps(files: tuple[Path, ...]) -> tuple[tuple[str, int, int], ...]:
    return tuple((str(file), (s := file.stat()).st_size, s.st_mtime_ns) for file in files)


def _is_grey(image: object) -> bool:
    try:
        with Image.open(io.BytesIO(image if isinstance(image, bytes) else b"")) as opened:
            return opened.mode in ("1", "L", "LA") or opened.mode.startswith("I")
    except Exception:  # packing will say what is wrong with it
        return True


def _least(count: int | None, first: int | None) -> int | None:
    return min((number for number in (count, first) if number is not None), default=None) if count else None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise GanctlError(f"cannot write {plain(path)}: {error.strerror}; set HF_HOME to a folder with room") from error


def _reason(error: Exception) -> str:
    return plain(str(error).strip().partition("\n")[0])[:200] or type(error).__name__
