"""What a question is made of: images and words with their embeddings, and the one row that they mix into."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from simsearch import images, vectors
from simsearch.collection import Collection, EncoderEntry
from simsearch.encoders.base import TextEncoder
from simsearch.encoders.registry import reads_text
from simsearch.errors import EncoderError, ImageError, QueryError
from simsearch.records import Artwork
from simsearch.vectors import Rows

Image = str | Path | int | bytes
"""A path, an http(s) URL, ``-`` for standard input, an artwork's id, or an image file's bytes."""

ADD_WORDS = (
    "add one that reads words with `simsearch index --encoder clip:ViT-B-32/laion2b_s34b_b79k`, or with a folder that "
    "`simsearch export-encoder` made of one"
)
WEIGHTED = re.compile(r"(\d+(?:\.\d*)?|\.\d+):(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """One part of a question: its embedding, and what the collection knows of it."""

    name: str
    """What was asked with: a path, a URL, an id, or the words."""
    row: Rows
    """Unit row (1, dim)."""
    artwork: Artwork | None = None
    """The artwork of the collection that the image is, by id or path."""
    path: Path | None = None
    data: bytes | None = None
    """The image file's bytes where they had to be read."""
    region: images.Region | None = None
    minus: bool = False
    weight: float = 1.0
    """How much it counts in the mix, above 0; `minus` gives the sign."""
    is_text: bool = False

    @property
    def caption(self) -> str:
        """What to call the part: the artwork's title, the file's name, or the words."""
        if self.is_text:
            return f"“{self.name}”"
        return self.artwork.name if self.artwork else PurePosixPath(self.name).name

    def picture(self, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> images.Picture:
        """The image that was asked about, cut to the region. Raises ImageError where it cannot be reached any more."""
        data = self.data if self.data is not None else images.read_bytes(self.path or Path(self.name))
        picture = images.decode(data, self.name, max_pixels=max_pixels)
        return self.region.cut(picture) if self.region else picture


def ask(
    collection: Collection,
    queries: Sequence[Image] = (),
    minus: Sequence[Image] = (),
    *,
    texts: Sequence[str] = (),
    minus_texts: Sequence[str] = (),
    region: str | None = None,
    encoder: str | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> list[Query]:
    """The parts of a question with their embeddings: images, words, then `minus` images and words, each in order.

    A part may carry its weight: ``0.5:at night``, ``2:painting.jpg``; a file of that very name is an image of weight 1.
    A stored artwork's embedding is read; only an image that the collection has never seen, or words, load the encoder.
    Raises QueryError, ImageError, EncoderError.
    """
    if not queries and not texts:
        raise QueryError("no query: name an image, the id of an artwork, or words")
    said = [(text.strip(), weight, less) for given, less in ((texts, False), (minus_texts, True))
            for text, weight in map(weighed, given)]  # fmt: skip
    if not all(text for text, _, _ in said):
        raise QueryError("an empty text asks for nothing; write what the pictures should show")
    parts = [(image, weight, False) for image, weight in map(_weighed_image, queries)]
    parts += [(image, weight, True) for image, weight in map(_weighed_image, minus)]
    if [image for image, _, _ in parts].count("-") > 1:
        raise QueryError("standard input holds one image; use - once")
    part = images.Region.parse(region) if region else None
    if part and len(queries) != 1:
        raise QueryError(f"--region takes one query image, there {'are several' if queries else 'is none'}")
    entry = question_entry(collection, encoder, words=bool(said))
    asked = [
        _query(collection, entry, image, None if less else part, max_pixels, minus=less, weight=weight)
        for image, weight, less in parts
    ]
    return sorted(asked + _texts(collection, entry, said), key=lambda query: query.minus)


def question_entry(collection: Collection, encoder: str | None, *, words: bool) -> EncoderEntry:
    """The encoder that a question is asked of: the named one, or the default; where words take part, one for words."""
    return text_entry(collection, encoder) if words else collection.encoder_entry(encoder)


def text_entry(collection: Collection, name: str | None = None) -> EncoderEntry:
    """The encoder of this name, or the first of the collection, that compares words with pictures.

    Raises EncoderError that says how to add one.
    """
    if name is not None:
        entry = collection.encoder_entry(name)
        if not reads_text(entry.location):
            raise EncoderError(f"{entry.info.name} knows pictures only, no words; {ADD_WORDS}")
        return entry
    collection.encoder_entry()  # says where there is nothing at all yet
    found = [entry for entry in collection.encoders() if reads_text(entry.location)]
    if not found:
        names = ", ".join(entry.info.name for entry in collection.encoders())
        raise EncoderError(f"no encoder of this collection reads words (it has {names}); {ADD_WORDS}")
    return found[0]


def joined(asked: Sequence[Query]) -> Rows:
    """One unit row (1, dim): the weighted sum of the parts, less the `minus` ones. QueryError where they cancel."""
    weights = np.array([-query.weight if query.minus else query.weight for query in asked])
    return vectors.mix(np.concatenate([query.row for query in asked]), weights)


def weighed(text: str) -> tuple[str, float]:
    """(what is asked, its weight) of ``0.5:at night``; without a number the weight is 1. Raises QueryError for 0."""
    found = WEIGHTED.fullmatch(text)
    if not found:
        return text, 1.0
    weight = float(found[1])
    if not 0 < weight <= 1e6:
        raise QueryError(f"{text!r} has the weight {found[1]}; a number above 0 is needed, or leave it away")
    return found[2], weight


def _weighed_image(image: Image) -> tuple[Image, float]:
    if not isinstance(image, str) or Path(image).exists():
        return image, 1.0
    return weighed(image)


def _texts(collection: Collection, entry: EncoderEntry, said: Sequence[tuple[str, float, bool]]) -> list[Query]:
    """The parts of a question that are words, given as (text, weight, minus)."""
    if not said:
        return []
    encoder = collection.load(entry)
    if not isinstance(encoder, TextEncoder):
        raise EncoderError(f"{entry.info.name} knows pictures only, no words; {ADD_WORDS}")
    rows = encoder.embed_texts([text for text, _, _ in said])
    return [
        Query(text, rows[i : i + 1], minus=less, weight=weight, is_text=True)
        for i, (text, weight, less) in enumerate(said)
    ]


def _query(
    collection: Collection,
    entry: EncoderEntry,
    image: Image,
    region: images.Region | None,
    max_pixels: int,
    *,
    minus: bool = False,
    weight: float = 1.0,
) -> Query:
    artwork = path = None
    data: bytes | None = None
    name = "the image" if isinstance(image, bytes) else str(image)
    if isinstance(image, bytes):
        data = image
    elif _is_id(image):
        artwork = collection.catalog.artwork(int(image))  # type: ignore[arg-type]
        path = Path(artwork.path) if artwork.path else None
    elif not name.startswith(("http://", "https://")) and name != "-":
        path = Path(name).expanduser().absolute()
        artwork = _artwork_at(collection, path)
    row = None
    if artwork and not region:
        digest = collection.catalog.digest(artwork.id)
        row = collection.catalog.embedding(entry.number, digest, entry.info.dim) if digest else None
    if row is None:
        if data is None:
            data, name = images.read_query(str(path or image))
        row = _embed(collection, entry, data, name, region, max_pixels)
    return Query(name, row, artwork, path, data, region, minus, weight)


def _is_id(image: Image) -> bool:
    """A whole number is an artwork's id, unless a file of that name lies here."""
    return isinstance(image, int) or (isinstance(image, str) and image.isdecimal() and not Path(image).exists())


def _artwork_at(collection: Collection, path: Path) -> Artwork | None:
    """The artwork whose file this is, as long as the file has not changed since."""
    for place in dict.fromkeys((path, path.resolve())):
        stored = collection.catalog.find_file(place)
        if stored is None:
            continue
        try:
            stat = path.stat()
        except OSError:
            return collection.catalog.artwork(stored.id)  # the disk is away, the embedding is here
        if (stat.st_size, stat.st_mtime_ns) == (stored.size, stored.mtime_ns):
            return collection.catalog.artwork(stored.id)
        try:
            same = hashlib.sha256(images.read_bytes(path)).digest() == stored.digest
        except ImageError:
            same = False
        return collection.catalog.artwork(stored.id) if same else None
    return None


def _embed(
    collection: Collection, entry: EncoderEntry, data: bytes, name: str, region: images.Region | None, max_pixels: int
) -> Rows:
    """The embedding (1, dim) of an image file's bytes: the stored one where these bytes are known."""
    if region is None:
        known = collection.catalog.embedding(entry.number, hashlib.sha256(data).digest(), entry.info.dim)
        if known is not None:
            return known
    encoder = collection.load(entry)
    rule = encoder.info.preprocessing
    picture = images.decode(data, name, max_pixels=max_pixels, side=None if region else rule.size)
    if region:
        picture = region.cut(picture)
    return vectors.as_stored(encoder.embed_images(images.fit(picture, rule)[None]))
