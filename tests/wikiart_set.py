"""A small set in the shape of ArtGAN's WikiArt, written by the tests: images, lists, and what they say."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from simsearch import open_collection

FEAST = "Baroque/jan-steen_the-feast-1660.jpg"
STYLES = "0 Baroque\n1 Art_Nouveau\n2 Pop_Art\n"
LISTS = {
    "style_train.csv": "Baroque/jan-steen_the-feast-1660.jpg,0\r\nArt_Nouveau_Modern/alfons-mucha_zodiac.jpg,1\r\n"
                       "Baroque/jan-steen_gone.jpg,0\r\n",
    "style_val.csv": "Pop_Art/grã©goire-lã³pez_tin-no-2.jpg,2\r\nBaroque/not-there_at-all.jpg,0\r\n",
    "genre_train.csv": "Baroque/jan-steen_the-feast-1660.jpg,2\r\n",
    "genre_val.csv": "Art_Nouveau_Modern/alfons-mucha_zodiac.jpg,6\r\nPop_Art/grã©goire-lã³pez_tin-no-2.jpg,9\r\n",
    "artist_train.csv": "Baroque/jan-steen_the-feast-1660.jpg,0\r\nBaroque/jan-steen_gone.jpg,0\r\n",
    "style_class.txt": STYLES,
    "artist_class.txt": "0 Jan_Havicksz_Steen\n",
}  # fmt: skip
IMAGES = {
    "Baroque/jan-steen_the-feast-1660.jpg": "rrrr",
    "Baroque/jan-steen_a-quarrel.png": "rrry",  # in no list
    "Art_Nouveau_Modern/alfons-mucha_zodiac.webp": "bbbb",  # under another suffix than the lists say
    "Art_Nouveau_Modern/mikalojus-ciurlionis_not_detected_2277.jpg": "bbbc",  # in no list, and without a title
    "Pop_Art/grã©goire-lã³pez_tin-no-2.jpg": "mmmm",
}
SAID = {
    "Baroque/jan-steen_the-feast-1660.jpg": (
        "the feast 1660", {"artist": "Jan Havicksz Steen", "genre": "genre painting", "style": "Baroque"},
        {"style_split": "train", "genre_split": "train", "artist_split": "train"},
    ),
    "Baroque/jan-steen_a-quarrel.png": ("a quarrel", {"artist": "Jan Havicksz Steen", "style": "Baroque"}, {}),
    "Art_Nouveau_Modern/alfons-mucha_zodiac.webp": (
        "zodiac", {"artist": "Alfons Mucha", "genre": "portrait", "style": "Art Nouveau"},
        {"style_split": "train", "genre_split": "val"},
    ),
    "Art_Nouveau_Modern/mikalojus-ciurlionis_not_detected_2277.jpg": (
        None, {"artist": "Mikalojus Ciurlionis", "style": "Art Nouveau"}, {},
    ),
    "Pop_Art/grã©goire-lã³pez_tin-no-2.jpg": (
        "tin no 2", {"artist": "Grégoire López", "genre": "still life", "style": "Pop Art"},
        {"style_split": "val", "genre_split": "val"},
    ),
}  # fmt: skip
ABSENT = 2


def picture(code: str) -> Image.Image:
    """A small picture that no other code gives: a stripe for each letter."""
    shades = np.array([[(ord(letter) * step) % 256 for step in (37, 101, 59)] for letter in code], np.uint8)
    return Image.fromarray(np.repeat(np.broadcast_to(shades, (16, len(code), 3)), 16 // len(code), axis=1))


def draw(folder: Path, images: Mapping[str, str] = IMAGES) -> Path:
    for path, code in images.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture(code).save(folder / path)
    return folder


def write(folder: Path, lists: Mapping[str, str], packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        data = text.encode()
        (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return folder


def said_of(place, source: str = "folder:wa") -> dict[str, tuple[str | None, dict[str, str], dict[str, str]]]:
    with open_collection(place.folder) as collection:
        works = [work for work in collection.catalog.all_artworks() if work.source == source]
    return {
        work.source_id: (work.title, {v.kind: v.value for v in work.labels if v.origin == "source"}, dict(work.extra))
        for work in works
    }


def rows(place) -> dict[str, list[tuple[object, ...]]]:
    """All that a failed run must leave as it was."""
    tables = ("source", "artwork", "label", "embedding", "meta", "generation", "run", "encoder")
    return {table: place.sql(f"SELECT * FROM {table}") for table in tables}
