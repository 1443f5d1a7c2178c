"""Heads that come with a shipped encoder, so that `classify` answers before anybody has trained one.

They lie in `heads/` of the encoder's model folder, in the files that `head.save` writes. Here they are called by the
encoder and their own name, such as ``art/style``: no head of a collection can be called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from simsearch import images, vectors
from simsearch.classifier.head import Head, load
from simsearch.encoders import registry
from simsearch.encoders.base import Encoder
from simsearch.errors import ArtworkNotFoundError, CollectionNotFoundError, EncoderError, HeadError, QueryError
from simsearch.records import EncoderInfo, Prediction
from simsearch.vectors import Rows

FIRST = ("style", "genre", "artist")
"""Kinds that are answered first, in this order."""


def shipped_heads(encoder: EncoderInfo) -> list[Head]:
    """The heads that came with this very encoder, style, genre and artist first.

    Empty where none came with it, or where they were made for other weights of that name. Raises HeadError for one
    whose files cannot be used.
    """
    if encoder.name not in registry.SHIPPED:
        return []
    folder = heads_folder(encoder.name)
    found = [load(folder, path.stem) for path in sorted(folder.glob("*.json"))]
    named = [replace(head, name=f"{encoder.name}/{head.name}") for head in found if head.encoder == encoder]
    return sorted(named, key=lambda head: in_order(head.kind))


def heads_folder(name: str) -> Path:
    """Where the heads of a shipped encoder lie."""
    return registry.MODELS / name / "heads"


def in_order(kind: str) -> tuple[bool | str, ...]:
    """A key that sorts kinds: those of FIRST, then by name."""
    return (*(kind != first for first in FIRST), kind)


def predictions(head: Head, row: Rows, top: int, threshold: float | None) -> list[Prediction]:
    """The `top` likeliest classes of a unit row (1, dim), the likeliest first and of equal ones the first by name.

    They are sure where the likeliest reaches `threshold`, by default the head's own.
    """
    shares = head.probabilities(row)[0]
    best = np.argsort(-shares, kind="stable")[:top].tolist()
    sure = bool(shares[best[0]] >= (head.threshold if threshold is None else threshold))
    return [Prediction(head.kind, head.classes[c], round(float(shares[c]), 4), by=head.name, sure=sure) for c in best]


class ShippedClassifier:
    """Answers without a collection: a shipped encoder and the heads that came with it. It knows no neighbours."""

    def __init__(self, *, labels: Sequence[str] = (), encoder: str | None = None) -> None:
        """`labels` limits the kinds, in their order. Raises EncoderError, HeadError, and CollectionNotFoundError where
        this installation has nothing to answer with."""
        name = encoder or registry.SHIPPED[0]
        if name not in registry.SHIPPED:
            raise CollectionNotFoundError(
                f"there is no collection in {Path.cwd()} or above it, and without one only the encoder "
                f"{registry.SHIPPED[0]!r} has heads that can answer; leave --encoder away, or make a collection with "
                f"`simsearch index FOLDER --encoder {name}`"
            )
        if not heads_folder(name).is_dir():
            raise CollectionNotFoundError(
                f"there is no collection in {Path.cwd()} or above it, and this installation came without heads; make "
                "one with `simsearch index FOLDER`, or name one with --collection"
            )
        self.encoder: Encoder = registry.load_encoder(name)
        self.heads = _chosen(shipped_heads(self.encoder.info), labels, name)
        """Those that answer, in the order of their answers."""

    def classify(
        self,
        image: str | Path | bytes,
        *,
        top: int = 1,
        threshold: float | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
    ) -> list[Prediction]:
        """For each kind the `top` values, the likeliest first, by calibrated probability; without neighbours.

        `image` is a path, a URL, ``-`` for standard input, or an image file's bytes. Raises ImageError, QueryError,
        EmbeddingError.
        """
        if top < 1:
            raise QueryError(f"top is {top}; it starts at 1")
        if threshold is not None and not 0 <= threshold <= 1:
            raise QueryError(f"the threshold is {threshold}; a probability lies between 0 and 1")
        if isinstance(image, str) and image.isdecimal() and not Path(image).exists():
            raise ArtworkNotFoundError(
                f"{image} would be the id of an artwork, but there is no collection in {Path.cwd()} or above it; name "
                "an image's path, or the collection with --collection"
            )
        row = self._embedding(image, max_pixels)
        return [said for head in self.heads for said in predictions(head, row, top, threshold)]

    def _embedding(self, image: str | Path | bytes, max_pixels: int) -> Rows:
        data, name = (image, "the image") if isinstance(image, bytes) else images.read_query(str(image))
        rule = self.encoder.info.preprocessing
        picture = images.decode(data, name, max_pixels=max_pixels, side=rule.size)
        return vectors.as_stored(self.encoder.embed_images(images.fit(picture, rule)[None]))


def _chosen(heads: list[Head], labels: Sequence[str], encoder: str) -> list[Head]:
    """Those of these kinds or names, in their order. Raises HeadError, EncoderError."""
    if not heads:
        raise EncoderError(f"the heads in {heads_folder(encoder)} were made for another {encoder!r}; install again")
    of = {head.kind: head for head in heads} | {head.name: head for head in heads}
    for label in labels:
        if label not in of:
            near = get_close_matches(label, of, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(head.kind for head in heads)}"
            raise HeadError(
                f"no head {label!r} came with the encoder {encoder}; {hint}; `simsearch train --label {label}` makes "
                "one from the labels of a collection"
            )
    return list({id(of[label]): of[label] for label in labels}.values()) or heads
