"""What comparing encoders stands on: an encoder with its framing, stored embeddings, and wikiart as a gallery."""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from art_changes import CHANGES
from PIL import Image

from simsearch.encoders.base import Encoder, Pixels, usable_cores
from simsearch.encoders.onnx import OnnxEncoder
from simsearch.encoders.registry import load_encoder
from simsearch.errors import ImageError
from simsearch.images import SUFFIXES, decode, fit, read_bytes
from simsearch.records import Preprocessing
from simsearch.vectors import Rows, unit_rows

T = TypeVar("T")
FOLDERS = ("wikiart", "pairs", "kinds")
SAVE_EVERY = 1024
"""Images between two writings of a file of embeddings: what an interruption may cost."""


# -- an encoder and its framing ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Framed:
    """An encoder, and how pictures are brought to its square."""

    encoder: Encoder
    framing: Preprocessing

    def pixels(self, path: Path) -> Pixels:
        """(size, size, 3) uint8 of a file. Raises ImageError."""
        return fit(decode(read_bytes(path), str(path), side=self.framing.size), self.framing)

    def embed(self, items: Sequence[T], pixels_of: Callable[[T], Pixels], what: str) -> Rows:
        """Unit rows (n, dim) of the items. Raises ImageError for the first that has no pixels."""
        rows = [rows for _, rows in self.batches(items, pixels_of, what, strict=True)]
        return np.concatenate(rows) if rows else np.empty((0, self.encoder.info.dim), np.float32)

    def batches(
        self, items: Sequence[T], pixels_of: Callable[[T], Pixels], what: str, *, strict: bool = False
    ) -> Iterator[tuple[list[T], Rows]]:
        """The items and their unit rows, batch by batch; what has no pixels is said and left out unless `strict`."""

        def tried(item: T) -> Pixels | None:
            try:
                return pixels_of(item)
            except ImageError as error:
                if strict:
                    raise
                print(f"\nleft out: {error}", file=sys.stderr)
                return None

        step = self.encoder.batch_size
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(items), step):
                some = items[start : start + step]
                both = [(item, pixels) for item, pixels in zip(some, pool.map(tried, some), strict=True)
                        if pixels is not None]  # fmt: skip
                if both:
                    yield [item for item, _ in both], self.encoder.embed_images(np.stack([p for _, p in both]))
                print(f"\r{what} {min(start + step, len(items)):,} of {len(items):,}", end="", file=sys.stderr)
        print(file=sys.stderr)

    def described(self) -> dict[str, Any]:
        """What tells this encoder and framing from others, for JSON."""
        info, to = self.encoder.info, self.framing
        return {"label": info.name, "revision": info.revision, "digest": info.digest[:12], "dim": info.dim,
                "size": to.size, "resize": to.resize, "interpolation": to.interpolation}  # fmt: skip

    def weights_bytes(self) -> int:
        """Size of the network's file; 0 for an encoder without one."""
        return (self.encoder.folder / "image.onnx").stat().st_size if isinstance(self.encoder, OnnxEncoder) else 0


def opened(name: str, resize: str | None, size: int | None) -> Framed:
    """An encoder as its card feeds it, or otherwise. Raises EncoderError where there is none of that name."""
    encoder = load_encoder(name)
    own = encoder.info.preprocessing
    framing = replace(own, resize=resize or own.resize, size=size or own.size)
    if framing.size != own.size:
        if not isinstance(encoder, OnnxEncoder):
            raise SystemExit(f"{name} takes {own.size} pixels and nothing else; leave --size out")
        encoder.info = replace(encoder.info, preprocessing=framing)
    return Framed(encoder, framing)


# -- files -------------------------------------------------------------------------------------------------------------


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that has these columns."""
    if not path.is_file():
        raise SystemExit(f"there is no {path}; --art names the folder that holds wikiart/, pairs/ and kinds/")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise SystemExit(f"{path} has no column {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}")
        return list(reader)


def sources(art: Path, folders: Sequence[str]) -> list[str]:
    """Paths relative to `art` of the images in these folders: wikiart's and kinds' as their tables name them."""
    if wrong := [name for name in folders if name not in FOLDERS]:
        raise SystemExit(f"there is no folder {wrong[0]!r} to embed; there are {', '.join(FOLDERS)}")
    out = []
    for name in folders:
        if not (art / name).is_dir():
            raise SystemExit(f"there is no {art / name}; leave {name} out by --only")
        if name == "pairs":
            files = [*art.glob("pairs/museum/*/*"), *art.glob("pairs/reproductions/*")]
            out += sorted(file.relative_to(art).as_posix() for file in files if file.suffix in SUFFIXES)
        else:
            out += [f"{name}/{row['path']}" for row in read_table(art / name / "artworks.csv", ("path",))]
    return out


@dataclass(frozen=True, slots=True)
class Stored:
    """Embeddings of a file."""

    file: Path
    place: dict[str, int]
    """Row of each path."""
    rows: Rows
    """(n, dim) float32 of length 1."""
    encoder: dict[str, Any]
    """What :meth:`Framed.described` gave, empty where the file does not say."""

    def described(self) -> dict[str, Any]:
        """The encoder for JSON; the file's name where it does not say."""
        return self.encoder or {"label": self.file.stem, "dim": self.rows.shape[1]}

    def check(self, framed: Framed) -> None:
        """Ends the command where these embeddings are of another encoder or framing than this one."""
        if self.rows.shape[1] != framed.encoder.info.dim or (self.encoder and self.encoder != framed.described()):
            ours, theirs = framed.described(), self.described()
            differs = [key for key in theirs if theirs[key] != ours.get(key)]
            raise SystemExit(f"{self.file} holds embeddings with {', '.join(f'{k} {theirs[k]}' for k in differs)}, not "
                             f"{', '.join(f'{k} {ours.get(k)}' for k in differs)}; name another file, or embed once "
                             "more into a new one")  # fmt: skip


def read_embeddings(path: Path) -> Stored:
    """What a file of embeddings holds. Raises EmbeddingError where a row is no embedding."""
    if not path.is_file():
        raise SystemExit(f"there is no {path}; make it by `embed`")
    try:
        with np.load(path) as data:
            paths, rows = [str(name) for name in data["path"]], data["embedding"]
            encoder = json.loads(str(data["encoder"])) if "encoder" in data else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise SystemExit(
            f"{path} is no file of path and embedding in numpy's npz format; make one by `embed`"
        ) from error
    if rows.ndim != 2 or len(rows) != len(paths):
        raise SystemExit(
            f"{path} holds {len(paths)} paths and embeddings of shape {rows.shape}; make it anew by `embed`"
        )
    return Stored(path, {name: i for i, name in enumerate(paths)}, unit_rows(rows), encoder)


def embed_files(framed: Framed, art: Path, paths: Sequence[str], out: Path) -> None:
    """Embeds files into `out`, as float16; what it holds by the same encoder is kept, so that a run can be resumed."""
    names, parts = [], []
    if out.exists():
        stored = read_embeddings(out)
        if not stored.encoder:
            raise SystemExit(f"{out} does not say which encoder made it, so nothing is added to it; name a new file")
        stored.check(framed)
        names, parts = list(stored.place), [stored.rows.astype(np.float16)]
    known = set(names)
    missing = [path for path in dict.fromkeys(paths) if path not in known]
    print(f"{len(missing):,} images to embed, {len(known):,} are in {out}", file=sys.stderr)
    unsaved = 0
    try:
        for some, rows in framed.batches(missing, lambda path: framed.pixels(art / path), framed.encoder.info.name):
            names += some
            parts.append(rows.astype(np.float16))
            unsaved += len(some)
            if unsaved >= SAVE_EVERY:
                _save(framed, names, parts, out)
                unsaved = 0
    finally:
        if unsaved:
            _save(framed, names, parts, out)


def _save(framed: Framed, names: Sequence[str], parts: list[np.ndarray], out: Path) -> None:
    """Writes aside and puts in place: an interruption leaves the older file or the newer one, never half of one."""
    parts[:] = [np.concatenate(parts)]
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f"{out.name}.part")
    with aside.open("wb") as file:
        np.savez(file, path=np.array(names), embedding=parts[0], encoder=np.array(json.dumps(framed.described())))
    aside.replace(out)


# -- wikiart as a gallery ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gallery:
    """The works of wikiart that a file holds, in the table's order."""

    stored: Stored
    table: list[dict[str, str]]
    mean: Rows
    """(dim,) of the train rows."""
    rows: Rows
    """(n, dim) centred on the mean and brought to length 1."""

    @classmethod
    def of(cls, stored: Stored, art: Path) -> Gallery:
        """The gallery; ends the command where the file holds no train work of it."""
        columns = ("path", "artist", "genre", "split", "origin")
        table = [row for row in read_table(art / "wikiart" / "artworks.csv", columns)
                 if "wikiart/" + row["path"] in stored.place]  # fmt: skip
        train = np.array([row["split"] == "train" for row in table], dtype=bool)
        if not train.any():
            raise SystemExit(f"{stored.file} holds no train work of wikiart; run `embed --only wikiart` into it")
        rows = stored.rows[[stored.place["wikiart/" + row["path"]] for row in table]]
        mean = rows[train].mean(axis=0)
        return cls(stored, table, mean, unit_rows(rows - mean))

    def centred(self, rows: Rows) -> Rows:
        """Unit rows (n, dim) in the gallery's terms: less its mean, and of length 1 again."""
        return unit_rows(rows - self.mean)

    def path(self, place: int) -> str:
        """Path of a work relative to the folder above wikiart."""
        return "wikiart/" + self.table[place]["path"]

    def column(self, name: str) -> np.ndarray:
        """(n,) str."""
        return np.array([row[name] for row in self.table])


def draw_val(gallery: Gallery, art: Path, n: int, seed: int) -> np.ndarray:
    """Places of n held-out works (or all there are), drawn from the whole table: the same for every encoder."""
    table = read_table(art / "wikiart" / "artworks.csv", ("path", "split"))
    val = [row["path"] for row in table if row["split"] == "val"]
    if not val:
        raise SystemExit(f"{art / 'wikiart' / 'artworks.csv'} has no row with the split val; nothing can be asked")
    place = {row["path"]: i for i, row in enumerate(gallery.table)}
    drawn = [val[i] for i in np.sort(np.random.default_rng(seed).permutation(len(val))[:n])]
    if missing := [path for path in drawn if path not in place]:
        raise SystemExit(f"{gallery.stored.file} lacks {len(missing)} of the {len(drawn)} works drawn, such as "
                         f"{missing[0]}; run `embed --only wikiart` into it")  # fmt: skip
    return np.array([place[path] for path in drawn])


# -- a set small enough for a smoke run --------------------------------------------------------------------------------


def make_small_set(painted: Path, art: Path) -> None:
    """A folder like ART from a painted gallery: its works as wikiart and kinds, warped copies as photographs."""
    works = read_table(painted / "artworks.csv", ("path", "artist", "style", "genre"))
    for i, row in enumerate(works):
        row |= {"split": "val" if i % 4 == 3 else "train", "origin": ("squashed", "letterboxed")[i // 2 % 2],
                "new_artist": "yes" if i % 5 == 0 else "", "kind": row["style"]}  # fmt: skip
    for name in ("wikiart", "kinds"):
        (art / name).mkdir(parents=True)
        _write(art / name / "artworks.csv", works)
        for row in works:
            (art / name / row["path"]).parent.mkdir(exist_ok=True)
            (art / name / row["path"]).symlink_to((painted / row["path"]).resolve())
    pairs = []
    (art / "pairs" / "reproductions").mkdir(parents=True)
    for i, row in enumerate(works[:4]):
        with Image.open(painted / row["path"]) as picture:
            image = picture.convert("RGB")
        pairs.append({"query": f"{i:03}.jpg", "work": row["path"]})
        image.save(art / "pairs" / "reproductions" / f"{i:03}.jpg", quality=60)
        place = art / "pairs" / "museum" / str(i)
        place.mkdir(parents=True)
        image.save(place / "reproduction.jpg")
        CHANGES["warp"](image, np.random.default_rng(i)).save(place / "photo.jpg")
    _write(art / "pairs" / "reproductions" / "pairs.csv", pairs)


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
