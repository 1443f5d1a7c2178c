"""What `similar` and `search` share: the forms of an answer, and which works may be in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import say
from simsearch.errors import SimsearchError

if TYPE_CHECKING:
    from simsearch.query import Query
    from simsearch.records import Hit

like_option = click.option(
    "--encoder", "--by", "encoder", metavar="NAME",
    help="Compare by this encoder of the collection, or by what like means: style, content, colour.  [default: the "
         "encoder named first when last indexed by name]",
)  # fmt: skip
number_option = click.option(
    "-k", "k", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="How many works."
)
where_option = click.option(
    "--where", metavar="EXPR", help="Only works that fit, such as \"style = 'Baroque' and width > 400\"."
)
min_score_option = click.option(
    "--min-score", type=click.FloatRange(-1, 1), metavar="COSINE", help="Only works at least this near."
)
_FORMS = (
    click.option("--json", "form", flag_value="json", help="One JSON object a line."),
    click.option("--csv", "form", flag_value="csv", help="Comma-separated values with a header."),
    click.option("--paths", "form", flag_value="paths", help="One path a line."),
    click.option("-0", "--null", "form", flag_value="null", help="Paths ended by NUL, for xargs -0."),
    click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Write a contact sheet, the query beside its hits."),
)  # fmt: skip


def form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the forms in which hits can be had."""
    for option in reversed(_FORMS):
        command = option(command)
    return command


def show_hits(hits: Sequence[Hit], form: str | None) -> None:
    """Writes hits to standard output, as a table for people or in a form for programs."""
    from simsearch.show import hits as show

    if form == "json":
        show.show_json(hits, show.stdout())
    elif form == "csv":
        show.show_csv(hits, show.stdout())
    elif form in ("paths", "null"):
        show.show_paths(hits, show.stdout(), end="\0" if form == "null" else "\n")
    else:
        show.show_hits(hits, show.stdout())


def write_sheet(path: Path, asked: Sequence[Query], hits: Sequence[Hit], max_pixels: int) -> None:
    """Writes a contact sheet of a question's parts beside its hits."""
    from functools import partial

    from simsearch.show.sheet import SheetImage, contact_sheet, query_image, thumbnail_of

    parts = []
    for query in asked:
        role = "minus" if query.minus else "query"
        if query.is_text:
            parts.append(SheetImage(query.caption, None, role))
        else:
            parts.append(query_image(query.caption, partial(query.picture, max_pixels), role))
    title = "Works like " + " and ".join(part.caption for part in parts if part.role == "query")
    try:
        path.write_text(contact_sheet(title, parts, hits, thumbnail_of), encoding="utf-8")
    except OSError as error:
        raise SimsearchError(f"{path} cannot be written: {error.strerror or error}") from error
    say(f"contact sheet in {path}")
