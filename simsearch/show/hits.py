"""Hits, predictions and failures as a table for people, and as JSON lines, CSV or bare paths for programs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import IO

from simsearch.records import LABEL_COLUMNS, METADATA, Failure, Hit, Prediction
from simsearch.show.table import table
from simsearch.show.text import harmless, json_line

HIT_COLUMNS = ("rank", "score", "percentile", "id", "title", *LABEL_COLUMNS, *METADATA[1:], "path", "width", "height",
               "source", "source_id")  # fmt: skip


def show_json(records: Iterable[Hit | Prediction | Failure], out: IO[str]) -> None:
    """One JSON object a line."""
    for record in records:
        out.write(json_line(record.to_dict()) + "\n")


def show_csv(hits: Iterable[Hit], out: IO[str]) -> None:
    """A header and one line a hit, always with the same columns."""
    rows = csv.DictWriter(out, HIT_COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    rows.writerows(hit.to_dict() for hit in hits)


def show_paths(hits: Iterable[Hit], out: IO[str], *, end: str = "\n") -> None:
    """The path of each hit, ended by a newline or, for `xargs -0`, by NUL."""
    for hit in hits:
        path = hit.artwork.path or hit.artwork.source_url or ""
        out.write((harmless(path) if out.isatty() else path) + end)


def show_hits(hits: Sequence[Hit], out: IO[str]) -> None:
    """A table: rank, cosine, share of random pairs that score lower, title or file, artist, style, id."""
    if not hits:
        out.write("no work of the collection fits\n")
        return
    rows = [
        [
            str(h.rank),
            f"{h.score:.3f}",
            percent(h.percentile),
            h.artwork.name,
            h.artwork.artist,
            h.artwork.style,
            str(h.artwork.id),
        ]
        for h in hits
    ]
    table(
        ["", "cosine", "nearer than", "title or file", "artist", "style", "id"],
        rows,
        out,
        right=frozenset({0, 1, 2, 6}),
    )


def show_predictions(image: str, predictions: Sequence[Prediction], out: IO[str]) -> None:
    """What an image resembles, kind by kind, with the works that say so."""
    out.write(f"{harmless(image)}\n")
    rows = []
    for prediction in predictions:
        works = ", ".join(f"{h.artwork.name} ({h.artwork.id})" for h in prediction.neighbours[:3])
        more = f", {len(prediction.neighbours) - 3} more" if len(prediction.neighbours) > 3 else ""
        share = f"{prediction.votes} of {prediction.of}"
        rows.append([prediction.kind, prediction.value, share, works + more])
    table(["", "resembles", "votes", "nearest of them"], rows, out, right=frozenset({2}))


def show_failures(failures: Sequence[Failure], out: IO[str]) -> None:
    """One line a failed file: the reason and the sentence."""
    for failure in failures:
        out.write(f"{failure.reason}: {harmless(failure.message)}\n")
    if not failures:
        out.write("no file failed at its last attempt\n")


def percent(share: float | None) -> str:
    """A percentile with as many decimals as its distance from 100 needs; a dash where there is none."""
    if share is None:
        return "-"
    return f"{share:.0f} %" if share < 99 else f"{share:.2f} %" if share < 100 else "100 %"


def stdout() -> IO[str]:
    """Standard output, with what the terminal's encoding cannot show replaced rather than refused."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return sys.stdout
