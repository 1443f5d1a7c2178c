"""`simsearch export`: the catalog for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simsearch.commands.common import collection_option, open_collection, say, used_encoder_option
from simsearch.errors import SimsearchError

if TYPE_CHECKING:
    pass


@click.command()
@collection_option
@used_encoder_option
@click.option("--csv", "csv", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="One line a work.")
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="One row a work, its embedding included.")  # fmt: skip
@click.option("--embeddings", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Ids and embeddings as a NumPy .npz.")  # fmt: skip
def export(collection: Path | None, encoder: str | None, **files: Path | None) -> None:
    """Writes the catalog, and the embeddings, for other programs."""
    from simsearch.show import export as writing

    if not any(files.values()):
        raise click.UsageError("name a file to write: --csv, --parquet or --embeddings")
    with open_collection(collection) as opened:
        entry = opened.encoder_entry(encoder)
        try:
            if path := files["csv"]:
                say(f"{writing.export_csv(opened, path):,} works in {path}")
            if path := files["parquet"]:
                say(f"{writing.export_parquet(opened, path, entry):,} works in {path}")
            if path := files["embeddings"]:
                say(f"{writing.export_embeddings(opened, entry, path):,} embeddings in {path}")
        except OSError as error:
            raise SimsearchError(
                f"{error.filename or 'the file'} cannot be written: {error.strerror or error}"
            ) from error
