"""Small labelled collections for the tests of training, evaluation, classification and audit.

Two ways to one, both deterministic:

- :func:`painted` draws 120 small pictures of 4 styles, 3 genres and 8 artists with their artworks.csv, and
  :func:`indexed` indexes them for real. The ground's colour says the style, but for one work in eight, which wears
  another style's colour; the number of bars says the genre; an artist works in two styles.
- :func:`fill` puts made-up embeddings and labels straight into a catalog, thousands in well under a second, where the
  pictures do not matter. :func:`clusters` makes such embeddings; :func:`embed` adds a second encoder.
"""

from __future__ import annotations

import csv
import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from simsearch import Options, index_folders, open_collection, vectors
from simsearch.catalog.writing import ImageRow, Writer
from simsearch.collection import Collection, EncoderEntry
from simsearch.records import Artwork, EncoderInfo, Label, Preprocessing

STYLES = ("Dawn", "Ember", "Moss", "Tide")
GENRES = ("bars", "field", "stripes")
ARTISTS = ("Ada Hill", "Bo Lind", "Cy Marsh", "Di Noll", "Ed Oak", "Fay Pine", "Gus Quay", "Hal Reed")
GROUNDS = {"Dawn": (225, 205, 120), "Ember": (190, 70, 50), "Moss": (80, 130, 60), "Tide": (50, 90, 170)}
BARS = {"bars": 2, "field": 0, "stripes": 6}
MISLED = 8
"""One work in so many wears the colour of another style than its own."""
COLUMNS = ("path", "title", "artist", "style", "genre", "split")
SIDE = 48

# -- drawn -------------------------------------------------------------------------------------------------------------


def painted(folder: Path, works: int = 120, seed: int = 0) -> list[dict[str, str]]:
    """Draws pictures into ``folder/art`` with an artworks.csv; its rows.

    Styles and genres take turns, so all their pairs are equally many. Every fourth round of a style is `val`, the
    others `train`.
    """
    random = np.random.default_rng(seed)
    art = folder / "art"
    art.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(works):
        kind, round = i % len(STYLES), i // len(STYLES)
        style, genre = STYLES[kind], GENRES[round % len(GENRES)]
        artist = ARTISTS[2 * kind + round % 2] if round % 5 else ARTISTS[(2 * kind + 2) % len(ARTISTS)]
        worn = STYLES[(kind + 1 + round % 3) % len(STYLES)] if i % MISLED == round % MISLED else style
        path = f"{style.lower()}_{round:02}.png"
        _picture(GROUNDS[worn], BARS[genre], random).save(art / path)
        split = "val" if round % 4 == 3 else "train"
        rows.append(dict(zip(COLUMNS, (path, f"{genre.title()} {i}", artist, style, genre, split), strict=True)))
    write_table(art / "artworks.csv", rows)
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes an artworks.csv with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def indexed(folder: Path) -> Path:
    """Indexes ``folder/art`` with the encoder `color` into a collection in `folder`; `folder`."""
    with open_collection(folder, write=True) as collection:
        report = index_folders(collection, [folder / "art"], Options(encoder="color"))
    assert report.failures == 0
    return folder


def _picture(ground: tuple[int, int, int], bars: int, random: np.random.Generator) -> Image.Image:
    """A ground with upright bars of its darker shade, both a little off, and grain over all."""
    colour = np.array(ground) + random.normal(0, 18, 3)
    pixels = np.broadcast_to(colour, (SIDE, SIDE, 3)).copy()
    for left in random.permutation(SIDE - 4)[:bars]:
        pixels[:, left : left + 4] *= random.uniform(0.3, 0.7)
    pixels += random.normal(0, 9, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# -- made up -----------------------------------------------------------------------------------------------------------


def clusters(values: Sequence[str], *, dim: int = 16, noise: float = 0.6, seed: int = 0) -> vectors.Rows:
    """Unit rows (n, dim): each value has a random direction, to which each row adds `noise` of another one.

    A value has the same direction whatever else is in `values`; "" is no class, so its rows are noise alone. With less
    noise than 0.3 the works of a class are near-duplicates of each other.
    """
    random = np.random.default_rng(seed)
    centres = {value: _direction(f"{seed} {value}", dim) for value in set(values)}
    strange = random.normal(size=(len(values), dim)) / np.sqrt(dim)
    own = np.array([centres[value] if value else np.zeros(dim) for value in values])
    return vectors.unit_rows(own + noise * strange)


def _direction(name: str, dim: int) -> np.ndarray:
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    row = random.normal(size=dim)
    return np.asarray(row / np.linalg.norm(row))


def fill(
    folder: Path,
    rows: np.ndarray,
    labels: Mapping[str, Sequence[str]],
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    images: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    name: str = "synthetic",
) -> tuple[Collection, EncoderEntry]:
    """A new collection in `folder` of works with these embeddings (n, dim), open for writing, and its encoder.

    Work i has the id i + 1, the path ``0000.png`` and so on, which lies nowhere, and of each kind of `labels` the i-th
    label, "" for none. `extra` are further attributes, such as ``split``. `images` numbers the photographs: works with
    the same number have the same bytes. Close the collection.
    """
    photographs = range(len(rows)) if images is None else images
    collection = Collection.create(folder)
    columns = dict(extra or {})
    with collection.writer() as writer:
        source = writer.add_source("folder:art", "folder", "art")
        works = [
            ImageRow(source, f"{i:04}.png", 1000, i, _digest(photographs[i]), SIDE, SIDE, described=Artwork(
                "folder:art", f"{i:04}.png", title=titles[i] if titles else f"Work {i}",
                labels=tuple(Label(kind, str(said[i])) for kind, said in labels.items() if said[i]),
                extra={key: str(said[i]) for key, said in columns.items() if said[i]},
            ))
            for i in range(len(rows))
        ]  # fmt: skip
        entry = _encoder(writer, rows.shape[1], name)
        writer.store_batch(writer.begin_run(), entry.number, works, _stored(rows, photographs), [])
        writer.set_meta("default_encoder", str(entry.number))
        writer.add_extra_columns(columns)
    return collection, entry


def embed(collection: Collection, rows: np.ndarray, name: str, images: Sequence[int] | None = None) -> EncoderEntry:
    """Gives the works of :func:`fill` embeddings (n, dim) by one more encoder; the encoder."""
    with collection.writer() as writer:
        entry = _encoder(writer, rows.shape[1], name)
        stored = _stored(rows, range(len(rows)) if images is None else images)
        writer.store_batch(writer.begin_run(), entry.number, [], stored, [])
    return entry


def damage(folder: Path, id: int) -> None:
    """Puts a NaN into every stored embedding of the work of this id."""
    with sqlite3.connect(folder / ".simsearch" / "catalog.db") as db:
        found = db.execute(
            "SELECT rowid, vector FROM embedding WHERE digest = (SELECT digest FROM artwork WHERE id = ?)", (id,)
        )
        nan = np.array([np.nan], "<f2").tobytes()
        changed = [(nan + vector[2:], rowid) for rowid, vector in found.fetchall()]
        db.executemany("UPDATE embedding SET vector = ? WHERE rowid = ?", changed)
    db.close()


def _encoder(writer: Writer, dim: int, name: str) -> EncoderEntry:
    info = EncoderInfo(name, "1", hashlib.sha256(name.encode()).hexdigest(), dim, Preprocessing(SIDE))
    return EncoderEntry(writer.add_encoder(info, name), info, name)


def _stored(rows: np.ndarray, images: Sequence[int]) -> dict[bytes, bytes]:
    return {_digest(n): row for n, row in zip(images, vectors.to_bytes(vectors.unit_rows(rows)), strict=True)}


def _digest(image: int) -> bytes:
    return hashlib.sha256(f"photograph {image}".encode()).digest()
