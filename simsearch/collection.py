"""A collection: the `.simsearch` folder, found like git's, with its catalog, encoders, indexes and writer's lock."""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import numpy as np

from simsearch.catalog.catalog import Catalog, Generation
from simsearch.catalog.store import Store
from simsearch.catalog.writing import Writer
from simsearch.encoders.base import Encoder
from simsearch.encoders.registry import load_encoder, location_of
from simsearch.encoders.running import Running
from simsearch.errors import (
    CollectionError,
    CollectionLockedError,
    CollectionNotFoundError,
    CollectionWriteError,
    EncoderError,
    EncoderMismatchError,
    IndexFileError,
)
from simsearch.index.base import VectorIndex
from simsearch.index.exact import ExactIndex
from simsearch.index.seal import check_seal
from simsearch.records import EncoderInfo

FOLDER = ".simsearch"
VARIABLE = "SIMSEARCH_COLLECTION"
CATALOG = "catalog.db"
LOCK = "writer.lock"
CURRENT_ENCODERS = "current_encoders"
"""The setting that holds the numbers of the encoders that `index` keeps up to date, as a JSON list."""
MEANINGS = {
    "style": ("art*", "*clip*", "*dinov2*"),
    "content": ("*clip*", "art*", "*dinov2*", "*efficientnet*", "*resnet*"),
    "colour": ("color",),
}
"""What like may mean, with the names of the encoders that tell it, the best first; docs/search.md has the figures."""
EXAMPLES = {"style": "clip:ViT-B-32/laion2b_s34b_b79k", "content": "clip:ViT-B-32/laion2b_s34b_b79k", "colour": "color"}


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """An encoder that the collection has embeddings of."""

    number: int
    info: EncoderInfo
    location: str
    """A built-in name or the path of a model folder."""


class Collection:
    """An open collection. Not for several threads at once; open it once in each."""

    def __init__(self, folder: Path, store: Store) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.folder = folder
        self.base = folder.parent
        self.catalog = Catalog(store, self.base)
        self.notice: Callable[[str], None] = lambda sentence: warnings.warn(sentence, stacklevel=3)
        """Called with sentences that the user should see but that stop nothing."""
        self.damaged: list[EncoderEntry] = []
        """Encoders whose index turned out to be damaged; it can be built again from the catalog."""
        self._store = store
        self._indexes: dict[str, VectorIndex] = {}
        self._encoders: dict[int, Encoder] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None, *, write: bool = False) -> Self:
        """The collection at a path, or the one that is found from the environment or upward from here.

        Raises CollectionNotFoundError, CollectionCorruptError, CollectionTooNewError.
        """
        folder = find(path)
        if folder is None:
            raise CollectionNotFoundError(
                f"there is no collection in {Path.cwd()} or above it; make one with `simsearch index FOLDER`, "
                f"or name one with --collection or {VARIABLE}"
            )
        return cls(folder, Store(folder / CATALOG, write=write))

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Self:
        """The collection in a folder, which is made where there is none; opened for writing."""
        folder = _collection_folder(Path(path))
        if (folder / CATALOG).exists() and (folder / CATALOG).stat().st_size:
            return cls(folder, Store(folder / CATALOG, write=True))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CollectionWriteError(f"{folder} cannot be made: {error.strerror or error}") from error
        return cls(folder, Store.create(folder / CATALOG))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the files."""
        self._indexes.clear()
        self._store.close()

    def discard(self) -> None:
        """Removes the folder of a collection that nothing was put into, unless another process is at it."""
        from shutil import rmtree

        from filelock import FileLock, Timeout

        with suppress(CollectionError, OSError, Timeout), FileLock(self.folder / LOCK, timeout=0):
            if self.catalog.count() or self.catalog.failures():
                return
            self.close()
            rmtree(self.folder / "index", ignore_errors=True)
            for path in self.folder.glob("*"):
                path.unlink()
            self.folder.rmdir()

    # -- writing -------------------------------------------------------------------------------------------------------

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """The one writer. Raises CollectionLockedError that says who writes, CollectionWriteError where nobody can."""
        from filelock import FileLock, Timeout  # a query never writes

        lock = FileLock(self.folder / LOCK)
        holder = self.folder / "writer.json"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise CollectionLockedError(
                f"{self.folder} is written by {_holder(holder)}; wait for it or stop it"
            ) from None
        except OSError as error:
            raise CollectionWriteError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        try:
            with self._as_writable(holder):
                yield Writer(self._store)
                self._store.checkpoint()
        finally:
            lock.release()

    @contextmanager
    def _as_writable(self, holder: Path) -> Iterator[None]:
        said = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
                "command": " ".join(["simsearch", *sys.argv[1:2]])}  # fmt: skip
        try:
            holder.write_text(json.dumps(said), encoding="utf-8")
            yield
        except OSError as error:
            what = f"{error.filename or self.folder} cannot be written: {error.strerror or error}"
            raise CollectionWriteError(f"{what}; what was committed is kept") from error
        finally:
            holder.unlink(missing_ok=True)

    # -- encoders ------------------------------------------------------------------------------------------------------

    def encoders(self) -> list[EncoderEntry]:
        """Every encoder that the collection has embeddings of; the default first."""
        default = self.catalog.meta("default_encoder")
        entries = [EncoderEntry(*row) for row in self.catalog.encoders()]
        return sorted(entries, key=lambda e: str(e.number) != default)

    def current_encoders(self) -> set[int]:
        """Numbers of the encoders that `index` keeps up to date."""
        said = self.catalog.meta(CURRENT_ENCODERS)
        if said is not None:
            return set(json.loads(said))
        default = self.catalog.meta("default_encoder")  # a collection from before there could be several
        return set() if default is None else {int(default)}

    def encoder_entry(self, name: str | None = None) -> EncoderEntry:
        """The encoder of a name, of the beginning of one, of a location or of what like means; or the default.

        Raises EncoderError with the names there are.
        """
        entries = self.encoders()
        if not entries:
            raise EncoderError(f"{self.folder} holds no embeddings yet; run `simsearch index FOLDER`")
        if name is None:
            return entries[0]
        for entry in entries:
            if name in (entry.info.name, entry.location):
                return entry
            if Path(name).is_dir() and str(Path(name).resolve()) == entry.location:
                return entry
        if name in MEANINGS:
            return _meant(name, entries)
        names = [entry.info.name for entry in entries]
        begun = [entry for entry in entries if entry.info.name.startswith(f"{name}-")]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise EncoderError(f"{name!r} may be {' or '.join(entry.info.name for entry in begun)}; write it out")
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}"
        raise EncoderError(
            f"this collection has no embeddings by {name!r}; {hint}; or run `simsearch index --encoder {name}`"
        )

    def load(self, entry: EncoderEntry, running: Running | None = None) -> Encoder:
        """The encoder itself. Raises EncoderMismatchError where its folder now holds another one."""
        if entry.number not in self._encoders:
            encoder = load_encoder(entry.location, running)
            if encoder.info != entry.info:
                raise EncoderMismatchError(
                    f"the embeddings were made with {entry.info}, but {location_of(encoder)} now holds {encoder.info}; "
                    f"run `simsearch index --encoder {entry.location}` or put the old folder back"
                )
            if hasattr(encoder, "notice"):
                encoder.notice = self.notice
            self._encoders[entry.number] = encoder
        return self._encoders[entry.number]

    # -- indexes -------------------------------------------------------------------------------------------------------

    def index_folder(self, generation: Generation) -> Path:
        """Where a generation's files are."""
        return self.folder / generation.folder

    def open_index(self, entry: EncoderEntry, generation: Generation | None) -> VectorIndex:
        """The published index of an encoder.

        Without one, or where its files are damaged, the embeddings themselves are searched, which is as right and
        slower; `damaged` then names the encoder.
        """
        if generation is None:
            return self._from_catalog(entry)
        if generation.folder not in self._indexes:
            try:
                self._indexes[generation.folder] = open_files(self.index_folder(generation), generation)
            except IndexFileError as error:
                self.damaged.append(entry)
                self.notice(f"{error}; the embeddings in the catalog were searched instead")
                self._indexes[generation.folder] = self._from_catalog(entry)
        return self._indexes[generation.folder]

    def _from_catalog(self, entry: EncoderEntry) -> VectorIndex:
        index = ExactIndex()
        index.build(*self.catalog.embeddings(entry.number, entry.info.dim))
        return index


def open_collection(path: str | os.PathLike[str] | None = None, *, write: bool = False) -> Collection:
    """The collection at a path, or the nearest one upward from here; with `write` it is made where there is none.

    Raises CollectionNotFoundError, CollectionCorruptError, CollectionTooNewError, CollectionWriteError.
    """
    if not write:
        return Collection.open(path)
    if exists(path):
        return Collection.open(path, write=True)
    return Collection.create(path or os.environ.get(VARIABLE) or Path.cwd())


def open_files(folder: Path, generation: Generation) -> VectorIndex:
    """The index in a generation's folder. Raises IndexFileError."""
    check_seal(folder, generation.parameters.get("files", {}))
    if generation.kind == "exact":
        return ExactIndex.open(folder)
    from simsearch.index.ivf import IvfIndex  # faiss takes a tenth of a second to import

    return IvfIndex.open(folder)


def find(path: str | os.PathLike[str] | None = None) -> Path | None:
    """The `.simsearch` folder that a path, the environment or the working directory and its parents name, or None."""
    named = path or os.environ.get(VARIABLE)
    if named:
        folder = _collection_folder(Path(named).expanduser())
        if not (folder / CATALOG).is_file():
            raise CollectionNotFoundError(f"there is no collection at {folder}; make it with `simsearch index FOLDER`")
        return folder
    here = Path.cwd()
    return next((p / FOLDER for p in (here, *here.parents) if (p / FOLDER / CATALOG).is_file()), None)


def exists(path: str | os.PathLike[str] | None = None) -> bool:
    """Whether :func:`find` finds a collection."""
    try:
        return find(path) is not None
    except CollectionNotFoundError:
        return False


def _meant(like: str, entries: Sequence[EncoderEntry]) -> EncoderEntry:
    """The encoder that tells best what is meant. Raises EncoderError that names one to add."""
    for pattern in MEANINGS[like]:
        for entry in entries:
            if fnmatchcase(entry.info.name.lower(), pattern):
                return entry
    names = ", ".join(entry.info.name for entry in entries)
    raise EncoderError(
        f"no encoder of this collection is known to tell {like} (it has {names}); add one with `simsearch index "
        f"--encoder {EXAMPLES[like]}`, or name one of those with --encoder"
    )


def _collection_folder(path: Path) -> Path:
    path = path.absolute()
    return path if path.name == FOLDER else path / FOLDER


def percentile(generation: Generation | None, scores: np.ndarray) -> list[float | None]:
    """Share, in per cent, of the collection's sampled random pairs that score lower; None without a sample."""
    if generation is None or not len(generation.background):
        return [None] * len(scores)
    below = np.searchsorted(generation.background, scores, side="left")
    return [round(100.0 * int(n) / len(generation.background), 2) for n in below]


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']} ({said['command']}, since {said['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"
