"""What several commands share: options, the statuses they leave with, and how they open a collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from simsearch.collection import Collection

FAILED, USAGE, WITH_FAILURES, INTERRUPTED = 1, 2, 3, 130
MAX_PIXELS = 89_000_000  # images.DEFAULT_MAX_PIXELS, which would import Pillow; a test holds them together

collection_option = click.option(
    "--collection",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The collection, or the folder that holds it.",
)
pixels_option = click.option(
    "--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, show_default=True, metavar="N",
    help="Refuse images with more pixels than this.",
)  # fmt: skip
used_encoder_option = click.option(
    "--encoder", metavar="NAME",
    help="Compare by this encoder of the collection.  [default: the one named first when last indexed by name]",
)  # fmt: skip


def say(sentence: str) -> None:
    """Says a sentence on standard error."""
    click.echo(sentence, err=True)


def open_collection(path: Path | None) -> Collection:
    """The collection to ask, whose notices go to standard error."""
    from simsearch.collection import Collection

    opened = Collection.open(path)
    opened.notice = say
    return opened


def mend(opened: Collection, path: Path | None) -> None:
    """Builds indexes anew that turned out to be damaged, where the collection can be written."""
    if not opened.damaged:
        return
    from simsearch.collection import Collection
    from simsearch.errors import CollectionError
    from simsearch.indexer.run import rebuild

    try:
        with Collection.open(opened.folder, write=True) as writable:
            for entry in opened.damaged:
                rebuild(writable, entry)
                say(f"the index of {entry.info.name} was built again from the catalog")
    except CollectionError as error:
        say(f"the index stays as it is: {error}")
