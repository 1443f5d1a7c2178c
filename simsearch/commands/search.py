"""`simsearch search`: works that show what words say."""

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
from simsearch.commands.common import collection_option, mend, open_collection


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="WORDS...")
@collection_option
@like_option
@click.option("--metadata", "mode", flag_value="metadata", help="Look for the words in titles, artists, terms alone.")
@click.option("--pictures", "mode", flag_value="pictures", help="Compare the words with the pictures alone.")
@number_option
@click.option("--minus", multiple=True, metavar="WORDS", help="Less of what these words say.")
@where_option
@min_score_option
@form_options
def search(
    texts: tuple[str, ...], collection: Path | None, form: str | None, html: Path | None, **options: Any
) -> None:
    """Shows the works that WORDS describe, such as "a stormy sea at dusk".

    Words are compared with the pictures by an encoder that reads words; several WORDS mix into one question, each with
    its weight (0.5:"at night"). Where titles, artists and terms of works hold every word, both rankings are fused.
    --metadata needs no such encoder.
    """
    from simsearch.search import Filters
    from simsearch.text_search import search_text

    opened = open_collection(collection)
    filters = Filters(where=options["where"], min_score=options["min_score"])
    with opened:
        asked, hits = search_text(
            opened, texts, options["k"], minus=options["minus"], filters=filters, encoder=options["encoder"],
            mode=options["mode"] or "auto",
        )  # fmt: skip
    show_hits(hits, form)
    if html:
        write_sheet(html, asked, hits, 0)
    mend(opened, collection)
