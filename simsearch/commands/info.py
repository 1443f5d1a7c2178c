"""`simsearch info`: what a collection is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simsearch.commands.common import collection_option, open_collection

if TYPE_CHECKING:
    pass


@click.command()
@collection_option
@click.option("--failures", is_flag=True, help="List the files that failed at their last attempt, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(collection: Path | None, failures: bool, as_json: bool) -> None:
    """Describes the collection: works, encoders, index, recall, sizes, failures."""
    from simsearch.show.hits import show_failures, show_json, stdout
    from simsearch.show.info import facts, show_facts
    from simsearch.show.text import json_line

    with open_collection(collection) as opened:
        if failures:
            (show_json if as_json else show_failures)(opened.catalog.failures(), stdout())
        elif as_json:
            stdout().write(json_line(facts(opened)) + "\n")
        else:
            show_facts(facts(opened), stdout())
