"""`simsearch similar`: the works most like a query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simsearch.commands.answers import (
    form_options,
    like_option,
    min_score_option,
    number_option,
    show_hits,
    where_option,
    write_sheet,
)
from simsearch.commands.common import collection_option, mend, open_collection, pixels_option


@click.command()
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@collection_option
@like_option
@click.option("--blend", metavar="NAME=WEIGHT,...", help="Compare by several encoders, such as art=0.6,clip=0.4.")
@number_option
@click.option("--minus", multiple=True, metavar="QUERY", help="Less like this image; may be given several times.")
@click.option("--text", "texts", multiple=True, metavar="WORDS",
              help="More like these words; needs an encoder that reads words.")  # fmt: skip
@click.option("--minus-text", "minus_texts", multiple=True, metavar="WORDS", help="Less like these words.")
@click.option(
    "--region", metavar="X,Y,W,H", help="Ask about a part of the image, in pixels or in per cent (10%,5%,30%,20%)."
)
@where_option
@click.option("--exclude-same", multiple=True, type=click.Choice(["artist", "folder", "source"]),
              help="Leave out works that share this with the query.")  # fmt: skip
@click.option("--include-self", is_flag=True, help="Keep the query among the hits where it is in the collection.")
@min_score_option
@pixels_option
@form_options
def similar(
    queries: tuple[str, ...], collection: Path | None, form: str | None, html: Path | None, **options: Any
) -> None:
    """Shows the works most like QUERY: a path, a URL, - for standard input, or an artwork's id.

    Several queries mix into one, with words where --text gives some; 0.5: before a part is its weight, as in
    --text "0.5:at night". The score is the cosine of the embeddings; `nearer than` says what share of random pairs of
    this collection score lower.
    """
    from simsearch import search
    from simsearch.query import ask

    if options["blend"] and options["encoder"]:
        raise click.UsageError("--blend names the encoders; leave --encoder and --by away")
    opened = open_collection(collection)
    filters = search.Filters(
        where=options["where"], exclude_same=options["exclude_same"], include_self=options["include_self"],
        min_score=options["min_score"],
    )  # fmt: skip
    parts = {name: options[name] for name in ("minus", "texts", "minus_texts", "region", "max_pixels")}
    with opened, opened.catalog.snapshot():
        if options["blend"]:
            from simsearch import blend

            weights = blend.parse_blend(options["blend"])
            asked, hits = blend.blended(opened, queries, weights, options["k"], filters=filters, **parts)
        else:
            asked = ask(opened, queries, encoder=options["encoder"], **parts)
            hits = search.find(opened, asked, options["k"], filters, options["encoder"])
    show_hits(hits, form)
    if html:
        write_sheet(html, asked, hits, options["max_pixels"])
    mend(opened, collection)
