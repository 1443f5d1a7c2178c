"""The works that a network is fine-tuned on, column by column, and what other networks have said of them."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from simsearch.catalog.catalog import Catalog, Ids
from simsearch.catalog.labelled import Keys, Strings, attribute, image_keys, trusted_labels
from simsearch.classifier.finetune.clip.columns import captions_in
from simsearch.classifier.finetune.recipe import Distill, Recipe
from simsearch.classifier.groups import near_duplicates
from simsearch.classifier.labelled import artists_of, check_kind
from simsearch.classifier.prepare import SPLIT_NAMES, TRAIN, VAL, WITH_NEAR_DUPLICATE
from simsearch.collection import Collection
from simsearch.errors import EncoderError, LabelError, TrainingError
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

UNREADABLE = "whose image is no file that can be read"


@dataclass(frozen=True, slots=True)
class Works:
    """Works to learn from and to measure on, row by row, by their id in the collection."""

    paths: list[Path]
    """(n) image files."""
    keys: Keys
    """(n,) uint64 keys of the images, as `catalog.labelled.image_keys` gives them."""
    labels: dict[str, Strings]
    """Kind to labels (n,); empty where a work has none."""
    artists: Strings
    """(n,) artists; empty where unknown."""
    parts: Strings
    """(n,) ``train`` or ``val`` by the published split; all empty where there is none. Nothing ever learns from a work
    of ``val``."""
    groups: Ids
    """(n,) near-duplicate group: works of one group must not stand on both sides of a split."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Works that were left out, by reason in words."""
    texts: Mapping[str, Strings] = field(default_factory=dict)
    """Column to the captions (n,) that it holds; empty where a work has none."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """Which works, labels and groups these are, and in which order, as SHA-256 in hexadecimal."""
        _, groups = np.unique(self.groups, return_inverse=True)  # ids differ from one collection to the next
        stated = hashlib.sha256(self.keys.astype("<u8").tobytes() + groups.astype("<i8").tobytes())
        told = ((f"the text {name}", column) for name, column in sorted(self.texts.items()))
        columns = (*sorted(self.labels.items()), ("the artist", self.artists), ("the part", self.parts), *told)
        for name, column in columns:
            stated.update("\0".join([name, *column.tolist()]).encode("utf-8", "surrogatepass"))
        return stated.hexdigest()

    def take(self, which: npt.NDArray[Any]) -> Works:
        """The works of a mask (n,)."""
        return Works(
            [path for path, kept in zip(self.paths, which.tolist(), strict=True) if kept],
            self.keys[which],
            {kind: values[which] for kind, values in self.labels.items()},
            self.artists[which], self.parts[which], self.groups[which], self.left_out,
            {column: values[which] for column, values in self.texts.items()},
        )  # fmt: skip


def kinds_of(recipes: Sequence[Recipe]) -> list[str]:
    """Kinds of label that any of these recipes learns from, each once."""
    found = [kind for r in recipes for kind in (*r.tasks, *(c.label for c in r.contrast if c.label))]
    found += [kind for r in recipes for told in (r.captions, r.wise.retained) for kind in told.labels]
    return list(dict.fromkeys(found))


def columns_of_captions(recipes: Sequence[Recipe]) -> list[str]:
    """Columns of the catalog whose texts any of these recipes tells of the works, each once."""
    found = [told.column for r in recipes for told in (r.captions, r.wise.retained) if told.column]
    return list(dict.fromkeys(found))


def learns_without_labels(recipe: Recipe) -> bool:
    """Whether works without any label teach this recipe something: by their views, or by a teacher."""
    return bool(recipe.distill) or any(not term.label for term in recipe.contrast)


def load_works(
    collection: Collection,
    kinds: Sequence[str],
    *,
    where: str | None = None,
    split: str = "auto",
    unlabelled: bool = False,
    columns: Sequence[str] = (),
    watch: Watch = silent,
) -> Works:
    """Works with a trusted label of one of `kinds`, or a text in one of `columns`, whose image is a local file, by id;
    with `unlabelled` others too.

    `split` names the attribute of the works that holds the published split; ``auto`` takes ``<kind>_split`` of each
    kind, or else ``split``, and ``none`` takes none. A work that any of these holds out is of part ``val``, and its
    near-duplicates that are not are left out; so are labelled works in no part of a split. Raises LabelError for a kind
    that no work has, for an attribute that is no split, and where nothing is left to learn from; TrainingError for a
    column that no work has; WhereError.
    """
    catalog = collection.catalog
    with catalog.snapshot():
        for kind in kinds:
            check_kind(catalog, kind)
        said = {kind: _column(catalog, kind) for kind in kinds}
        told = {column: captions_in(catalog, column) for column in columns}
        ids = catalog.ids_where(where)
        if not unlabelled:
            ids = ids[np.isin(ids, np.array(sorted(set().union(*said.values(), *told.values())), np.int64))]
        if not len(ids):
            raise LabelError(_nothing([*kinds, *columns], where))
        known = {work.id: work.path for work in catalog.artworks(ids.tolist())}
        there = np.array([_readable(known.get(id)) for id in ids.tolist()])
        if not there.any():
            raise LabelError(
                f"none of {len(ids):,} works has an image that can be read; put the files back, or index them again"
            )
        kept = ids[there]
        parts = _parts(catalog, kinds, split)
        works = Works(
            [Path(str(known[id])) for id in kept.tolist()],
            image_keys(catalog, kept),
            {kind: _texts([values.get(id, "") for id in kept.tolist()]) for kind, values in said.items()},
            artists_of(catalog, kept),
            _texts([parts.get(id, "") for id in kept.tolist()]),
            near_duplicates(collection, kept, watch=watch).of(kept),
            {UNREADABLE: int((~there).sum())} if not there.all() else {},
            {column: _texts([values.get(id, "") for id in kept.tolist()]) for column, values in told.items()},
        )
    return _without_leaks(works)


def _without_leaks(works: Works) -> Works:
    """The works less those that a published split leaves aside. Raises LabelError where none is left to learn from."""
    val = works.parts == VAL
    near = ~val & np.isin(works.groups, works.groups[val])
    columns = [*works.labels.values(), *works.texts.values()]
    labelled = np.any([values != "" for values in columns] or [np.zeros(len(works), bool)], axis=0)
    both = val.any() and (works.parts == TRAIN).any()
    aside = ~near & labelled & (works.parts == "") & both
    left_out = {WITH_NEAR_DUPLICATE: int(near.sum()), "in no part of the published split": int(aside.sum())}
    parts = np.where(val, VAL, TRAIN) if val.any() else np.full(len(works), "")
    counts = {reason: n for reason, n in left_out.items() if n}
    kept = replace(works, parts=parts, left_out={**works.left_out, **counts}).take(~near & ~aside)
    if (kept.parts == VAL).all():
        raise LabelError(
            f"all {int(val.sum()):,} works belong to the part that is held out, and none is left to learn from; "
            "index works to train on, or choose another split with --split-by"
        )
    return kept


def _column(catalog: Catalog, kind: str) -> dict[int, str]:
    ids, values = trusted_labels(catalog, kind)
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def _readable(path: str | None) -> bool:
    return path is not None and Path(path).is_file() and os.access(path, os.R_OK)


def _texts(values: list[str]) -> Strings:
    return np.array(values, dtype=np.str_) if values else np.empty(0, dtype="<U1")


def _parts(catalog: Catalog, kinds: Sequence[str], split: str) -> dict[int, str]:
    """Id to ``train`` or ``val``; what is held out by one split is held out."""
    if split == "none":
        return {}
    if split == "auto":
        common = attribute(catalog, "split")
        columns = [attribute(catalog, f"{kind}_split") or common for kind in kinds] or [common]
    else:
        columns = [attribute(catalog, split)]
        if not columns[0]:
            raise LabelError(f"no work has an attribute {split!r} that could be a split; leave --split-by away")
    out: dict[int, str] = {}
    for column in columns:
        for id, text in column.items():
            part = SPLIT_NAMES.get(text.strip().lower(), text.strip().lower())
            if part == VAL or (part == TRAIN and id not in out):
                out[id] = part
    if split != "auto" and not {TRAIN, VAL} <= set(out.values()):
        has = ", ".join(sorted(set(columns[0].values()))[:5])
        raise LabelError(
            f"the attribute {split!r} holds {has}; a split says train and val (or test) of works; "
            "leave --split-by away, or name another attribute"
        )
    return out


def _nothing(kinds: Sequence[str], where: str | None) -> str:
    what = f"no work with a label {' or '.join(map(repr, kinds))}" if kinds else "no work"
    if where is not None:
        return f"{what} fits --where {where!r}; leave the filter away, or widen it"
    return f"{what} is in this collection; run `simsearch index FOLDER`"


# -- teachers ----------------------------------------------------------------------------------------------------------


def teacher(collection: Collection, works: Works, distill: Distill) -> Rows:
    """What a teacher gave each work, rows (n, d) float32, of the columns that `distill` names.

    A teacher is an encoder of the collection, by its name, or an ``.npz`` file of `path` (m,) and `embedding` (m, d),
    whose paths start from the folder that holds the collection or from the folder of their source. Raises
    TrainingError for a teacher that is not there, and where it lacks a work.
    """
    if distill.teacher.endswith(".npz"):
        rows, place = _from_file(collection, works, Path(distill.teacher))
    else:
        rows, place = _from_catalog(collection, works, distill.teacher)
    lacking = int((place < 0).sum())
    if lacking:
        way = (
            "make them as well, or leave the works out with --where"
            if distill.teacher.endswith(".npz")
            else f"run `simsearch index --encoder {distill.teacher}`"
        )
        raise TrainingError(
            f"the teacher {distill.teacher!r} has no embedding of {lacking:,} of {len(works):,} works; {way}"
        )
    taken = rows[place].astype(np.float32)
    if not np.isfinite(taken).all():
        raise TrainingError(f"the teacher {distill.teacher!r} holds numbers that are not finite; make it again")
    return taken[:, columns_of(distill, taken.shape[1])]


def columns_of(distill: Distill, width: int) -> slice:
    """The columns of a teacher of this width that a term learns from. Raises TrainingError for ones it has not."""
    if not distill.columns:
        return slice(None)
    ends = distill.columns
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= width:
        raise TrainingError(
            f"columns of the teacher {distill.teacher!r} are {list(ends)}; two numbers from 0 to {width} are needed, "
            "the first column and the one after the last"
        )
    return slice(*ends)


def _from_catalog(collection: Collection, works: Works, name: str) -> tuple[Rows, Ids]:
    """(rows (m, d), the row (n,) of each work, -1 where there is none)."""
    try:
        entry = collection.encoder_entry(name)
    except EncoderError as error:
        raise TrainingError(f"the teacher {name!r} is no .npz file, and {error}") from error
    catalog = collection.catalog
    with catalog.snapshot():
        rows, ids = catalog.embeddings(entry.number, entry.info.dim)
        place = {int(key): row for row, key in enumerate(image_keys(catalog, ids))}
    return rows, np.array([place.get(int(key), -1) for key in works.keys], np.int64)


def _from_file(collection: Collection, works: Works, path: Path) -> tuple[npt.NDArray[Any], Ids]:
    rows, paths = _read_teacher(path)
    place = {Path(text).as_posix(): row for row, text in enumerate(paths)}
    roots = [collection.base.resolve(), *(folder.resolve() for _, _, folder in collection.catalog.sources())]
    return rows, np.array([_row(file, roots, place) for file in works.paths], np.int64)


def _row(file: Path, roots: Sequence[Path], place: Mapping[str, int]) -> int:
    for root in roots:
        if file.is_relative_to(root) and (row := place.get(file.relative_to(root).as_posix())) is not None:
            return row
    return -1


def _read_teacher(path: Path) -> tuple[npt.NDArray[Any], list[str]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in ("path", "embedding") if name not in file]
            if missing:
                has = ", ".join(file.files) or "nothing"
                raise TrainingError(
                    f"the teacher {path} has no {missing[0]!r}; it must hold path and embedding, this holds {has}"
                )
            rows, paths = file["embedding"], file["path"]
    except OSError as error:
        raise TrainingError(f"the teacher {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, TypeError, BadZipFile, zlib.error) as error:  # no archive, or of pickled objects
        raise TrainingError(f"the teacher {path} is no .npz file of plain arrays; write it with numpy.savez") from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or paths.shape != rows.shape[:1] or paths.dtype.kind not in "US":
        raise TrainingError(
            f"the teacher {path} holds path {paths.shape} as {paths.dtype} and embedding {rows.shape} as {rows.dtype}; "
            "n texts and (n, d) numbers are needed"
        )
    return rows, [text.decode() if isinstance(text, bytes) else str(text) for text in paths.tolist()]
