"""`simsearch similar`: the works most like a query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import collection_option, mend, open_collection, pixels_option, say, used_encoder_option
from simsearch.errors import SimsearchError

if TYPE_CHECKING:
    from simsearch.records import Hit
    from simsearch.search import Query


@click.command()
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@collection_option
@used_encoder_option
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="How many works.")
@click.option("--minus", multiple=True, metavar="QUERY", help="Less like this image; may be given several times.")
@click.option(
    "--region", metavar="X,Y,W,H", help="Ask about a part of the image, in pixels or in per cent (10%,5%,30%,20%)."
)
@click.option("--where", metavar="EXPR", help="Only works that fit, such as \"style = 'Baroque' and width > 400\".")
@click.option("--exclude-same", multiple=True, type=click.Choice(["artist", "folder", "source"]),
              help="Leave out works that share this with the query.")  # fmt: skip
@click.option("--include-self", is_flag=True, help="Keep the query among the hits where it is in the collection.")
@click.option("--min-score", type=click.FloatRange(-1, 1), metavar="COSINE", help="Only works at least this near.")
@pixels_option
@click.option("--json", "form", flag_value="json", help="One JSON object a line.")
@click.option("--csv", "form", flag_value="csv", help="Comma-separated values with a header.")
@click.option("--paths", "form", flag_value="paths", help="One path a line.")
@click.option("-0", "--null", "form", flag_value="null", help="Paths ended by NUL, for xargs -0.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write a contact sheet, the query beside its hits.")  # fmt: skip
def similar(
    queries: tuple[str, ...], collection: Path | None, form: str | None, html: Path | None, **options: Any
) -> None:
    """Shows the works most like QUERY: a path, a URL, - for standard input, or an artwork's id.

    Several queries mix into one. The score is the cosine of the embeddings; `nearer than` says what share of random
    pairs of this collection score lower.
    """
    from simsearch import search

    opened = open_collection(collection)
    filters = search.Filters(
        where=options["where"], exclude_same=options["exclude_same"], include_self=options["include_self"],
        min_score=options["min_score"],
    )  # fmt: skip
    with opened, opened.catalog.snapshot():
        asked = search.ask(
            opened, queries, options["minus"], region=options["region"], encoder=options["encoder"],
            max_pixels=options["max_pixels"],
        )  # fmt: skip
        hits = search.find(opened, asked, options["k"], filters, options["encoder"])
    _show_hits(hits, form)
    if html:
        _write_sheet(html, asked, hits, options["max_pixels"])
    mend(opened, collection)


def _show_hits(hits: list[Hit], form: str | None) -> None:
    from simsearch.show import hits as show

    if form == "json":
        show.show_json(hits, show.stdout())
    elif form == "csv":
        show.show_csv(hits, show.stdout())
    elif form in ("paths", "null"):
        show.show_paths(hits, show.stdout(), end="\0" if form == "null" else "\n")
    else:
        show.show_hits(hits, show.stdout())


def _write_sheet(path: Path, asked: list[Query], hits: list[Hit], max_pixels: int) -> None:
    from functools import partial

    from simsearch.show.sheet import contact_sheet, query_image, thumbnail_of

    pictures = [query_image(q.caption, partial(q.picture, max_pixels), "minus" if q.minus else "query") for q in asked]
    title = "Works like " + " and ".join(picture.caption for picture in pictures if picture.role == "query")
    try:
        path.write_text(contact_sheet(title, pictures, hits, thumbnail_of), encoding="utf-8")
    except OSError as error:
        raise SimsearchError(f"{path} cannot be written: {error.strerror or error}") from error
    say(f"contact sheet in {path}")
