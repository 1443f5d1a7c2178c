"""One Markdown table of what `art_encoder.py` and the yardstick of frozen embeddings wrote, a column for each encoder.

A share of queries has its 95 % interval in brackets (Wilson; balanced accuracy and macro F1: bootstrap). Wilson takes
works as independent; those of one artist are not, so the intervals of rows with few artists are too narrow.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from simsearch.show.plots import wilson

Columns = dict[str, dict[str, str]]
"""For each encoder its cells by row."""

OFTEN = 20
"""The yardstick's artists have at least so many train works."""
YARDSTICK = (
    "style16", "style11", "style5", "style_new_artists", "genre", "artist",
    "style16_f1", "style11_f1", "style5_f1", "style_new_artists_f1", "genre_f1", "artist_f1",
    "style_p1", "style_p10", "style_p1_other", "style_p10_other",
    "genre_p1", "genre_p10", "genre_p1_other", "genre_p10_other", "work_r1", "museum_r1",
)  # fmt: skip


def share(right: int, n: int) -> list[float]:
    """Share of n right, with its Wilson interval, to four decimals; n at least 1."""
    low, high = wilson([right / n], [n])
    return [round(right / n, 4), round(float(low[0]), 4), round(float(high[0]), 4)]


def table(files: Sequence[str], works: Sequence[dict[str, str]] | None) -> str:
    """The table of `files`, each ``FILE.json`` or ``COLUMN=FILE.json``.

    With the rows of wikiart's artworks.csv the yardstick's shares have intervals, which need the number of queries.
    """
    columns: Columns = {}
    for given in files:
        label, path = _named(given)
        data = _read(path)
        name = str(data.get("benchmark", ""))
        if name == "art_speed":
            for each in data["encoders"]:
                _put(columns, label or str(each["label"]), _speed(each))
        elif name == "art_museum":
            for each in data["files"]:
                _put(columns, label or str(each["label"]), _museum(each))
        elif name in READERS:
            _put(columns, label or str(data["label"]), READERS[name](data))
        elif "style16" in data:
            _put(columns, label or path.stem, _yardstick(data, works))
        else:
            raise SystemExit(f"{path} is of no known kind; give results of art_encoder.py or of the yardstick, as JSON")
    return _markdown(columns)


def _named(given: str) -> tuple[str, Path]:
    """(column, file) of ``COLUMN=FILE``; no column where none is named."""
    label, sign, file = given.partition("=")
    return (label, Path(file)) if sign else ("", Path(given))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise SystemExit(f"{path} holds no JSON object; give results of art_encoder.py or of the yardstick")
    return data


def _put(columns: Columns, label: str, cells: Iterable[tuple[str, str]]) -> None:
    columns.setdefault(label, {}).update(cells)


def _robustness(data: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, found in data["changes"].items():
        yield f"same work, {name}, {found['queries']} queries", _cell(found["found"])


def _kinds(data: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for resize, found in data["framings"].items():
        yield f"kind, {resize}", _cell(found["accuracy"])
        yield f"kind, {resize}, macro F1", _cell(found["macro_f1"])


def _origin(data: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, found in data["probes"].items():
        if found["balanced_accuracy"]:
            yield f"origin (chance .500), {name}, {found['works']:,} works", _cell(found["balanced_accuracy"])


def _museum(data: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, found in data["tasks"].items():
        yield f"first found, {name}, {found['queries']} queries", _cell(found["found"])


def _speed(data: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield "images/s", f"{data['images_per_s']:.1f}"
    yield "images/s beside the first", f"{data['ratio_to_first']:.2f}"
    yield "until a first embedding, new process, s", f"{data['cold_s']:.2f}"


def _yardstick(data: dict[str, Any], works: Sequence[dict[str, str]] | None) -> Iterable[tuple[str, str]]:
    counts = _queries(works) if works is not None else {}
    counts |= {f"{name}_r1": data.get(f"{name}_queries", 0) for name in ("work", "museum")}
    for key in YARDSTICK:
        if key not in data:
            continue
        n = counts.get(key, 0)
        yield key, _cell(share(round(data[key] * n), n) if n else [data[key]])


def _queries(works: Sequence[dict[str, str]]) -> dict[str, int]:
    """How many works the yardstick asks, for each row that is a share of works."""
    val = [work for work in works if work["split"] == "val"]
    train = Counter(work["artist"] for work in works if work["split"] == "train")
    genre = sum(work["genre"] != "" for work in val)
    return {
        "style16": len(val), "style_p1": len(val), "style_p1_other": len(val),
        "genre": genre, "genre_p1": genre, "genre_p1_other": genre,
        "style11": sum(work["origin"] == "squashed" for work in val),
        "style5": sum(work["origin"] == "letterboxed" for work in val),
        "style_new_artists": sum(work["new_artist"] == "yes" for work in works),
        "artist": sum(train[work["artist"]] >= OFTEN for work in val),
    }  # fmt: skip


READERS = {"art_robustness": _robustness, "art_kinds": _kinds, "art_origin": _origin}


def _markdown(columns: Columns) -> str:
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    lines = ["| | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    lines += ["| " + " | ".join([row, *(cells.get(row, "") for cells in columns.values())]) + " |" for row in rows]
    return "\n".join(lines)


def _cell(figure: Sequence[float]) -> str:
    """``.613``, or ``.613 [.590, .636]`` where the interval is known."""
    value, *ends = (f"{number:.3f}".removeprefix("0") for number in figure)
    return f"{value} [{', '.join(ends)}]" if ends else value
