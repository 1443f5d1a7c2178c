"""Heads: what a linear classifier knows, its files, and the refusal to answer for another encoder.

A head is two files in `.simsearch/heads/<encoder>/`: numbers as safetensors, and a JSON card with everything a reader
needs to judge it. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.catalog.labelled import Keys
from simsearch.classifier.fit import logits, probabilities
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import CollectionWriteError, EncoderMismatchError, HeadError
from simsearch.records import EncoderInfo, Preprocessing
from simsearch.vectors import Rows

FORMAT = 1
NAME = re.compile(r"\w[\w.-]*")
LONGEST = 100
"""Bytes of a name: a file's takes 255 in all."""
LOCK = ".lock"
TENSORS = ("weights", "bias", "trained_on", "held_out")


@dataclass(frozen=True, slots=True)
class Head:
    """A linear classifier of one kind of label, on the embeddings of one encoder."""

    name: str
    kind: str
    encoder: EncoderInfo
    classes: tuple[str, ...]
    """By name; weights, bias and probabilities are in this order."""
    weights: Rows
    """(classes, dim) float32."""
    bias: Rows
    """(classes,) float32."""
    temperature: float
    threshold: float
    """Below this probability of its best class the head is unsure."""
    trained_on: Keys = field(repr=False)
    """Keys of the images that it was trained on."""
    held_out: Keys = field(repr=False)
    """Keys of the images that were held out when it was trained."""
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """How it was made and how good it is, as in the JSON card."""

    def logits(self, rows: Rows) -> Rows:
        """(n, classes) float32 of unit rows (n, dim)."""
        return logits(rows, self.weights, self.bias)

    def probabilities(self, rows: Rows) -> Rows:
        """Calibrated probabilities (n, classes) float32 of unit rows (n, dim), in the order of `classes`."""
        return probabilities(self.logits(rows), self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """The card: all but the numbers, as plain values for JSON."""
        return {
            "format": FORMAT, "name": self.name, "kind": self.kind, "encoder": _encoder(self.encoder),
            "classes": list(self.classes), "temperature": self.temperature, "threshold": self.threshold, **self.card,
        }  # fmt: skip

    def check(self, encoder: EncoderInfo) -> None:
        """Raises EncoderMismatchError where embeddings of this encoder are not what the head learned from."""
        if self.encoder != encoder:
            raise EncoderMismatchError(
                f"the head {self.name!r} was trained on embeddings by {self.encoder}, these are by {encoder}; "
                f"run `simsearch train --label {self.kind}` again, or choose that encoder with --encoder"
            )


def folder_of(collection: Collection, encoder: EncoderInfo) -> Path:
    """Where a collection keeps the heads of an encoder."""
    return collection.folder / "heads" / re.sub(r"[^\w.-]", "_", encoder.name)


def heads_of(collection: Collection, entry: EncoderEntry) -> list[Head]:
    """The heads for an encoder: those named like their kind first, then by name. Raises as :func:`load` does."""
    folder = folder_of(collection, entry.info)
    found = [load(folder, path.stem) for path in sorted(folder.glob("*.json"))]
    for head in found:
        head.check(entry.info)
    return sorted(found, key=lambda head: (head.name != head.kind, head.name))


def names_of(collection: Collection, entry: EncoderEntry) -> list[str]:
    """Names of the heads for an encoder, whether they can be read or not."""
    return sorted(path.stem for path in folder_of(collection, entry.info).glob("*.json"))


def head_of(collection: Collection, entry: EncoderEntry, name: str) -> Head:
    """The head of this name for an encoder. Raises HeadError with the names there are, EncoderMismatchError."""
    names = names_of(collection, entry)
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}" if names else "there is none yet"
        )
        raise HeadError(
            f"no head {name!r} for the encoder {entry.info.name}; {hint}; `simsearch train --label KIND` makes one"
        )
    head = load(folder_of(collection, entry.info), name)
    head.check(entry.info)
    return head


def save(folder: Path, head: Head) -> Path:
    """Writes a head's card and numbers, in place of any of that name; the card's path.

    The numbers' file is named by its content and the card, which names it, is replaced in one step: whoever reads
    meanwhile sees the old head or the new one. Raises HeadError for a name that no file can have, CollectionWriteError.
    """
    from filelock import FileLock
    from safetensors.numpy import save as to_bytes

    check_name(head.name)
    check_place(folder)
    data = to_bytes({name: np.ascontiguousarray(getattr(head, name)) for name in TENSORS})
    digest = hashlib.sha256(data).hexdigest()
    numbers = folder / f"{head.name}-{digest[:12]}.safetensors"
    said = {**head.to_dict(), "weights": {"file": numbers.name, "sha256": digest}}
    card = folder / f"{head.name}.json"
    try:
        with FileLock(folder / LOCK):  # or two that train the same head would sweep away each other's numbers
            _write(numbers, data)
            _write(card, json.dumps(said, indent=2, ensure_ascii=False).encode())
            for old in folder.glob(f"{head.name}-*.safetensors"):
                if old != numbers and re.fullmatch(r"[0-9a-f]{12}", old.stem.removeprefix(f"{head.name}-")):
                    old.unlink(missing_ok=True)
    except OSError as error:
        raise CollectionWriteError(f"{error.filename or card} cannot be written: {error.strerror or error}") from error
    return card


def check_name(name: str) -> None:
    """Raises HeadError for a name that no file can have."""
    if not NAME.fullmatch(name) or len(name.encode()) > LONGEST:
        raise HeadError(
            f"a head cannot be called {name!r}; give it a --name of letters, digits, dots, - and _, at most "
            f"{LONGEST} of them"
        )


def check_place(folder: Path) -> None:
    """Makes the folder of heads where there is none. Raises CollectionWriteError where no head can be written to it."""
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            pass
    except OSError as error:
        raise CollectionWriteError(
            f"{folder} cannot be written: {error.strerror or error}; check its permissions"
        ) from error


def load(folder: Path, name: str) -> Head:
    """The head of a card `<name>.json` in a folder. Raises HeadError for a card or numbers that cannot be used."""
    card = folder / f"{name}.json"
    try:
        text = card.read_bytes()
        while True:
            try:
                return _head(card, text)
            except HeadError:
                before, text = text, card.read_bytes()
                if text == before:
                    raise  # else it was replaced between its card and its numbers
    except OSError as error:
        raise HeadError(f"{card} cannot be read: {error.strerror or error}; {_again(name)}") from error


def _head(card: Path, text: bytes) -> Head:
    from safetensors import SafetensorError

    name = card.stem
    try:
        said = json.loads(text)
        if said["format"] > FORMAT:
            raise HeadError(f"{card} was written by a newer simsearch; update this one")
        numbers = _numbers(card.parent / said["weights"]["file"], said["weights"]["sha256"], card)
        encoder = dict(said["encoder"])
        encoder["preprocessing"] = Preprocessing.from_dict(encoder["preprocessing"])
        head = Head(
            name, str(said["kind"]), EncoderInfo(**encoder), tuple(map(str, said["classes"])),
            temperature=float(said["temperature"]), threshold=float(said["threshold"]), card=said, **numbers,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise HeadError(
            f"{card} is not the card of a head ({type(error).__name__}: {error}); {_again(name)}"
        ) from error
    wanted = (len(head.classes), head.encoder.dim)
    if head.weights.shape != wanted or head.bias.shape != wanted[:1] or not _finite(head):
        raise HeadError(
            f"{card} says {wanted[0]} classes of {wanted[1]} numbers, its weights say otherwise; {_again(name)}"
        )
    return head


def _finite(head: Head) -> bool:
    numbers = (head.weights, head.bias, head.temperature, head.threshold)
    return all(bool(np.isfinite(n).all()) for n in numbers) and head.temperature > 0


def _numbers(path: Path, digest: str, card: Path) -> dict[str, Any]:
    from safetensors.numpy import load as from_bytes

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise HeadError(
            f"{card} has lost its weights: there is no {path.name} beside it; {_again(card.stem)}"
        ) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise HeadError(f"{path} is not the file that its card names; {_again(card.stem)}")
    tensors = from_bytes(data)
    return {name: tensors[name] for name in TENSORS}


def _again(name: str) -> str:
    return f"put the file back, or train again with `simsearch train --label KIND --name {name}`"


def _encoder(info: EncoderInfo) -> dict[str, Any]:
    return {"name": info.name, "revision": info.revision, "digest": info.digest, "dim": info.dim,
            "preprocessing": info.preprocessing.to_dict()}  # fmt: skip


def _write(path: Path, data: bytes) -> None:
    """Writes a file aside and gives it its name in one step."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
