"""Builds an index from the catalog, measures it, and makes it the one that readers open."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Set
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from simsearch import vectors
from simsearch.catalog.catalog import Generation
from simsearch.catalog.writing import Writer
from simsearch.collection import Collection, EncoderEntry
from simsearch.encoders.base import Encoder, TextEncoder
from simsearch.index.base import Ids, VectorIndex
from simsearch.index.exact import ExactIndex, search_rows
from simsearch.index.seal import seal
from simsearch.vectors import Rows

KINDS = ("auto", "exact", "ivf")
AUTO_IVF_FROM = 200_000
"""Works from which `auto` builds an inverted file; docs/benchmarks/index_scale.md shows where the two cross."""
RECALL_WANTED = 0.98
RECALL_QUERIES = 200
BACKGROUND_PAIRS = 20_000
TEXT_QUERIES = 100
PROMPTS = (
    "a painting", "a portrait of a woman", "a landscape with trees", "ships on a stormy sea",
    "a still life with flowers", "people in a city street", "an abstract composition", "a religious scene",
    "an animal", "a drawing in ink", "a battle", "a nude", "a building", "night", "the colour blue", "a sculpture",
)  # fmt: skip
"""Plain phrases among the words by which an inverted file's effort is measured."""


def publish(
    collection: Collection,
    writer: Writer,
    entry: EncoderEntry,
    run: int,
    kind: str = "auto",
    encoder: Encoder | None = None,
) -> Generation:
    """Builds the index of an encoder aside, measures it, and publishes it. Readers see the old one or the new.

    Where the encoder is given and reads words, an inverted file's effort for queries of words is measured, too; else
    it stays what it was.
    """
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
    index, recall = build(rows, ids, kind)
    if index.kind == "ivf":
        settle_text_effort(collection, entry, index, rows, ids, encoder)
    below = Path("index") / re.sub(r"[^\w.-]+", "-", f"{entry.info.name}-{entry.info.revision}")
    named = {Path(each) for each in collection.catalog.generation_folders()}
    number = _next_number(collection.folder / below, {path.name for path in named if path.parent == below})
    folder = below / str(number)
    _write(index, collection.folder / folder)
    generation = Generation(
        encoder=entry.info,
        folder=folder.as_posix(),
        kind=index.kind,
        parameters=index.parameters() | {"files": seal(collection.folder / folder)},
        works=len(ids),
        run=run,
        recall_at_10=recall,
        background=background(rows),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    for old in writer.publish(entry.number, generation):
        shutil.rmtree(collection.folder / old, ignore_errors=True)
    return generation


def build(rows: Rows, ids: Ids, kind: str = "auto") -> tuple[VectorIndex, float | None]:
    """(index over unit rows (n, dim), its recall@10 against exact search, or None where it is exact itself).

    Ids (n,) ascend.
    """
    from simsearch.index.ivf import FEWEST, IvfIndex  # faiss itself is imported when it builds

    if kind == "exact" or len(ids) < (AUTO_IVF_FROM if kind == "auto" else FEWEST):
        exact = ExactIndex()
        exact.build(rows, ids)
        return exact, None
    ivf = IvfIndex()
    ivf.build(rows, ids)
    return ivf, tune(ivf, rows, ids)


def tune(index: object, rows: Rows, ids: Ids) -> float:
    """The recall@10 reached, with the fewest probes (a power of two) that reach RECALL_WANTED, or all lists.

    Measured on stored works, each of which is left out of its own neighbours: it would always be found.
    """
    from simsearch.index.ivf import IvfIndex

    assert isinstance(index, IvfIndex)
    chosen = np.sort(np.random.default_rng(11).choice(len(rows), min(RECALL_QUERIES, len(rows)), replace=False))
    queries, own = rows[chosen], ids[chosen]
    truth = [
        set(found[found != me][:10].tolist())
        for found, me in zip(search_rows(queries, rows, ids, 11)[1], own, strict=True)
    ]
    index.probes, recall = 1, 0.0
    while True:
        found = index.search(queries, 11)[1]
        hits = [len(want & set(got[got != me].tolist())) for want, got, me in zip(truth, found, own, strict=True)]
        recall = sum(hits) / sum(len(want) for want in truth)
        if recall >= RECALL_WANTED or index.probes >= index.lists:
            return round(recall, 4)
        index.probes *= 2


def settle_text_effort(
    collection: Collection, entry: EncoderEntry, index: VectorIndex, rows: Rows, ids: Ids, encoder: Encoder | None
) -> None:
    """Gives an inverted file the fewest probes (a power of two) that find RECALL_WANTED of what words are nearest to.

    Words lie apart from pictures in the space of a CLIP, so the lists that hold the nearest pictures are not those
    whose centroids are nearest. Measured on words of the collection itself, its titles and labels, and on PROMPTS.
    """
    from simsearch.index.ivf import IvfIndex

    assert isinstance(index, IvfIndex)
    if not isinstance(encoder, TextEncoder):
        old = collection.catalog.generation(entry.number)
        index.text_probes = int(old.parameters.get("text_probes", 0)) if old else 0
        return
    queries = encoder.embed_texts(sample_texts(collection))
    truth = [set(found.tolist()) for found in search_rows(queries, rows, ids, 10)[1]]
    index.text_probes = index.probes
    while index.text_probes < index.lists:
        found = index.search(queries, 10, of_text=True)[1]
        hits = sum(len(want & set(got.tolist())) for want, got in zip(truth, found, strict=True))
        if hits / sum(map(len, truth)) >= RECALL_WANTED:
            return
        index.text_probes = min(2 * index.text_probes, index.lists)


def sample_texts(collection: Collection) -> list[str]:
    """Words that people may search for: PROMPTS, and titles and labels of works drawn with a fixed seed."""
    ids = collection.catalog.ids_where()
    chosen = np.random.default_rng(17).choice(ids, min(TEXT_QUERIES, len(ids)), replace=False)
    said = [
        text for work in collection.catalog.artworks(np.sort(chosen)) for text in (work.title, work.style, work.genre)
    ]
    return list(dict.fromkeys([*PROMPTS, *(text for text in said if text and text.strip())]))


def background(rows: Rows) -> Rows:
    """Cosines (m,) float32, ascending, of random pairs of different rows; all pairs where there are few."""
    n = len(rows)
    if n * (n - 1) // 2 <= BACKGROUND_PAIRS:
        first, second = np.triu_indices(n, 1)
    else:
        rng = np.random.default_rng(13)
        first = rng.integers(0, n, BACKGROUND_PAIRS)
        second = (first + rng.integers(1, n, BACKGROUND_PAIRS)) % n
    cosines = np.empty(len(first), np.float32)
    for part in np.array_split(np.arange(len(first)), max(1, len(first) // 4096)):
        cosines[part] = np.einsum("ij,ij->i", rows[first[part]], rows[second[part]])
    return np.sort(vectors.rounded(cosines))


def _next_number(folder: Path, named: Set[str]) -> int:
    """One more than any generation there, once what killed runs left half-written or unnamed is cleared away."""
    if not folder.is_dir():
        return 1
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    for path in folder.iterdir():
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
    return 1 + max(numbers, default=0)


def _write(index: VectorIndex, folder: Path) -> None:
    """Writes aside, brings it to the disk, then gives the folder its name: a half-written one never has it."""
    aside = folder.with_name(folder.name + ".building")
    aside.mkdir(parents=True)
    try:
        index.save(aside)
        for path in [*aside.iterdir(), aside]:
            _fsync(path)
        aside.rename(folder)
        _fsync(folder.parent)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is None:  # neither numpy nor faiss pass on the system's reason
            raise OSError(f"the index came out incomplete, perhaps because the disk is full ({error})") from error
        raise


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # a folder cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
