"""Hits, predictions and failures as a table for people, and as JSON lines, CSV or bare paths for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import IO, Any

from simsearch.records import LABEL_COLUMNS, METADATA, Artwork, Failure, Hit, Prediction
from simsearch.show.table import MARK, table
from simsearch.show.text import harmless, json_line

HIT_COLUMNS = ("rank", "score", "percentile", "id", "title", *LABEL_COLUMNS, *METADATA[1:], "path", "width", "height",
               "source", "source_id", "resembles", "scale", "blend", "ranks")  # fmt: skip
GUESSED = "(?) what the work resembles, by a trained head: no person and no source has said it\n"
AMONG = "by words alone: which of the labels fits best, not whether any of them does\n"
SHOWN = 3
"""Neighbours named behind a prediction."""


def show_json(records: Iterable[Hit | Prediction | Failure], out: IO[str]) -> None:
    """One JSON object a line."""
    for record in records:
        out.write(json_line(record.to_dict()) + "\n")


def show_csv(hits: Iterable[Hit], out: IO[str]) -> None:
    """A header and one line a hit, always with the same columns; predictions apart from labels, as JSON."""
    rows = csv.DictWriter(out, HIT_COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    rows.writerows(cells(hit.to_dict()) for hit in hits)


def cells(said: dict[str, Any]) -> dict[str, Any]:
    """What was said of a work, fit for a table: what is a mapping is one cell of JSON."""
    nested = {key: json.dumps(said[key], ensure_ascii=False) for key in ("resembles", "blend", "ranks") if key in said}
    return said | nested


def show_paths(hits: Iterable[Hit], out: IO[str], *, end: str = "\n") -> None:
    """The path of each hit, ended by a newline or, for `xargs -0`, by NUL."""
    for hit in hits:
        path = hit.artwork.path or hit.artwork.source_url or ""
        out.write((harmless(path) if out.isatty() else path) + end)


def show_hits(hits: Sequence[Hit], out: IO[str]) -> None:
    """A table: rank, score, what it is worth or made of, title or file, artist, style, id."""
    if not hits:
        out.write("no work of the collection fits\n")
        return
    measures = _measures(hits)
    rows = [
        [
            str(h.rank),
            *(cell(h) for _, cell in measures),
            h.artwork.name,
            label_or_guess(h.artwork, "artist"),
            label_or_guess(h.artwork, "style"),
            str(h.artwork.id),
        ]
        for h in hits
    ]
    heads = [head for head, _ in measures]
    right = frozenset({*range(len(heads) + 1), len(heads) + 4})
    table(["", *heads, "title or file", "artist", "style", "id"], rows, out, right=right)
    if any(h.artwork.resembles(kind) for h in hits for kind in ("artist", "style")):
        out.write(GUESSED)


def _measures(hits: Sequence[Hit]) -> list[tuple[str, Callable[[Hit], str]]]:
    """Columns that say how near a hit is: on its scale, and where it stands in what the score is made of."""
    scale = hits[0].scale
    if scale == "cosine":
        shown: list[tuple[str, Callable[[Hit], str]]] = [("cosine", lambda h: f"{h.score:.3f}")]
        if any(h.percentile is not None for h in hits):
            shown.append(("nearer than", lambda h: percent(h.percentile)))
        return shown
    if scale == "blend":
        parts = [(name, partial(_cosine_by, name)) for name in hits[0].blend]
        return [("blend", lambda h: f"{h.score:.2f}"), *parts]
    if scale == "rrf":
        return [("by picture", lambda h: _place(h, "pictures")), ("by words", lambda h: _place(h, "metadata"))]
    return [(scale, lambda h: f"{h.score:.2f}")]


def _cosine_by(name: str, hit: Hit) -> str:
    return f"{hit.blend[name].cosine:.3f}"


def _place(hit: Hit, ranking: str) -> str:
    return str(hit.ranks[ranking]) if ranking in hit.ranks else "-"


def label_or_guess(work: Artwork, kind: str) -> str | None:
    """What was said of a work, or what it resembles with a question mark, as on a museum's label."""
    guess = work.resembles(kind)
    return f"{guess.value}{MARK}" if guess else work.label(kind)


def show_predictions(image: str, predictions: Sequence[Prediction], out: IO[str]) -> None:
    """What an image resembles, kind by kind, with the works that say so; where a head is unsure, that it is."""
    out.write(f"{harmless(image)}\n")
    several = len({(p.kind, p.by) for p in predictions}) > len({p.kind for p in predictions})
    rows: list[list[str]] = []
    for p, before in zip(predictions, (None, *predictions), strict=False):
        repeated = before is not None and not p.sure and before.by == p.by  # with the same evidence
        rows.append([f"{p.kind} ({p.by})" if several else p.kind, _answer(p), _strength(p),
                     "" if repeated else _evidence(p)])  # fmt: skip
    table(["", "resembles", "how sure", "nearest of them"], rows, out, right=frozenset({2}))
    shipped = dict.fromkeys((p.by.partition("/")[0], p.kind) for p in predictions if "/" in p.by)
    for encoder in dict.fromkeys(encoder for encoder, _ in shipped):
        kinds = ", ".join(kind for of, kind in shipped if of == encoder)
        out.write(f"by the shipped head of the encoder {encoder}: {harmless(kinds)}\n")
    if any(p.by == "zero-shot" for p in predictions):
        out.write(AMONG)


def _answer(prediction: Prediction) -> str:
    return prediction.value if prediction.sure else f"unsure, perhaps {prediction.value}"


def _strength(prediction: Prediction) -> str:
    if prediction.of:
        return f"{prediction.votes} of {prediction.of} votes"
    return f"{100 * prediction.share:.0f} %" if prediction.share < 0.995 else "over 99 %"


def _evidence(prediction: Prediction) -> str:
    """Works by name and number, with their own label where they are no examples of the answer."""
    said = []
    for hit in prediction.neighbours[:SHOWN]:
        label = "" if prediction.sure else f", {hit.artwork.label(prediction.kind)}"
        said.append(f"{hit.artwork.name} ({hit.artwork.id}{label})")
    more = len(prediction.neighbours) - SHOWN
    works = ", ".join(said) + (f", {more} more" if more > 0 else "")
    return works if prediction.sure or not said else f"of any {prediction.kind}: {works}"


def show_prediction_json(images: Iterable[tuple[str, Sequence[Prediction]]], out: IO[str]) -> None:
    """One JSON object a line for each image, kind and value."""
    for image, predictions in images:
        out.writelines(json_line({"image": image, **p.to_dict()}) + "\n" for p in predictions)


def show_prediction_csv(images: Iterable[tuple[str, Sequence[Prediction]]], out: IO[str]) -> None:
    """A header and one line for each image, kind and value; ids of the nearest works parted by spaces.

    `resembles` says ``unsure`` where a head is; what it would have said first is in `likeliest` all the same.
    """
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["image", "kind", "resembles", "likeliest", "share", "by", "neighbours"])
    for image, predictions in images:
        for p in predictions:
            near = " ".join(str(hit.artwork.id) for hit in p.neighbours)
            rows.writerow([image, p.kind, p.value if p.sure else "unsure", p.value, p.share, p.by, near])


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
