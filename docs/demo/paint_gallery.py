"""A gallery of procedural pictures for the demo: a dozen manners, two invented hands in each, and their labels."""

import argparse
import csv
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parent))  # so that the painters are found when this file is loaded by path

from hands import MANNERS
from sheets import Sheet

COLUMNS = ("path", "title", "artist", "style", "genre", "date", "medium", "rights")
MEDIUM = "procedural drawing, numpy and Pillow"
SHAPES = {
    "landscape": (3 / 2, 4 / 3, 16 / 10, 4 / 3, 1, 3 / 4),
    "portrait": (3 / 4, 4 / 5, 2 / 3, 1),
    "still life": (4 / 3, 1, 3 / 4, 5 / 4),
}
ANY_SHAPE = (4 / 3, 3 / 4, 1, 3 / 2, 2 / 3, 4 / 5)
NOUNS = {
    "landscape": "Hills, Valley, Ridges, Morning Slopes, Evening Hills, Far Country, Uplands, Orchard Hills",
    "still life": "Fruit and Vase, Laid Table, Windfalls, Vase, Late Fruit, Kitchen Table, Quiet Table",
    "portrait": "Sitter, Portrait, Listener, Quiet Face, Head and Shoulders, Neighbour, Visitor",
    "pattern": "Wheel, Rosette, Round, Turning, Petals, Compass, Garland",
}


class Work(NamedTuple):
    """One picture of the gallery before it is painted: where it goes, its label and its sheet."""

    label: dict[str, str]
    paint: Callable[[Sheet], Image.Image]
    sheet: Sheet


def slug(text: str) -> str:
    """A text as a file name: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def plan(works_per_manner: int, seed: int, size: int) -> Iterator[Work]:
    """Every work of the gallery in order; the first works of a manner stay the same however many follow."""
    for place, manner in enumerate(MANNERS):
        titles: set[str] = set()
        for index in range(works_per_manner):
            rng = np.random.default_rng((seed, place, index))
            by = manner.hands[index % 2]
            turn, genre_at = divmod(index // 2, len(by.genres))
            genre, chosen = by.genres[genre_at], by.palettes[turn % len(by.palettes)]
            title = new_title(rng, manner.nouns or NOUNS[genre], chosen.name, titles)
            path = f"{slug(manner.style)}/{slug(title)}.jpg"
            values = (path, title, by.name, manner.style, genre, str(rng.integers(2016, 2026)), MEDIUM, "CC0")
            shape = rng.choice(SHAPES.get(genre, ANY_SHAPE))
            w, h = (max(8, round(size * min(1, side))) for side in (shape, 1 / shape))
            sheet = Sheet(rng, w, h, genre, chosen.colours, by.habits)
            yield Work(dict(zip(COLUMNS, values, strict=True)), manner.paint, sheet)


def new_title(rng: np.random.Generator, nouns: str, colour: str, taken: set[str]) -> str:
    """A title such as ``Harbour Mouth in Ochre`` that its manner does not have yet; it is added to ``taken``."""
    base = f"{rng.choice(nouns.split(', '))} in {colour}"
    title, number = base, 2
    while title in taken:
        title, number = f"{base} {number}", number + 1
    taken.add(title)
    return title


def paint_gallery(dest: Path, works_per_manner: int = 16, seed: int = 7, size: int = 360) -> list[Path]:
    """The pictures painted into ``dest``, in the order of the ``artworks.csv`` written beside them."""
    dest.mkdir(parents=True, exist_ok=True)
    painted, labels = [], []
    for work in plan(works_per_manner, seed, size):
        path = dest / work.label["path"]
        path.parent.mkdir(exist_ok=True)
        image = work.paint(work.sheet)
        if image.size != (work.sheet.w, work.sheet.h):
            image = image.resize((work.sheet.w, work.sheet.h), Image.Resampling.BOX)
        image.save(path, quality=88, subsampling=0)
        painted.append(path)
        labels.append(work.label)
    with (dest / "artworks.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(labels)
    return painted


def main(arguments: list[str] | None = None) -> int:
    """The exit status of the command line: 0, or 1 after one sentence when the gallery could not be written."""
    parser = argparse.ArgumentParser(description="Paint a gallery of procedural pictures with labels.")
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder for the pictures and artworks.csv")
    parser.add_argument("--works-per-manner", type=int, default=16, help="pictures in each manner (default 16)")
    parser.add_argument("--seed", type=int, default=7, help="another seed, another gallery (default 7)")
    parser.add_argument("--size", type=int, default=360, help="longer side in pixels (default 360)")
    options = parser.parse_args(arguments)
    if options.works_per_manner < 1 or options.seed < 0 or options.size < 32:
        parser.error("works per manner must be at least 1, seed at least 0 and size at least 32")
    try:
        painted = paint_gallery(options.dest, options.works_per_manner, options.seed, options.size)
    except OSError as error:
        print(f"Cannot write the gallery to {options.dest}: {error.strerror or error}.", file=sys.stderr)
        return 1
    print(f"Painted {len(painted)} pictures in {options.dest}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
