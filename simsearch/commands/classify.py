"""`simsearch classify`: what an image resembles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import collection_option, mend, open_collection, pixels_option, used_encoder_option

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@collection_option
@used_encoder_option
@click.option("--label", "labels", multiple=True, metavar="KIND", help="Only this kind of label, such as style.")
@click.option(
    "--top", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Values of each kind."
)
@click.option("--by", type=click.Choice(["neighbours"]), default="neighbours", show_default=True,
              help="How: by vote of the nearest labelled works.")  # fmt: skip
@click.option(
    "--voters", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Works that vote."
)
@pixels_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def classify(images: tuple[str, ...], collection: Path | None, by: str, as_json: bool, **options: Any) -> None:
    """Says what each IMAGE resembles: style, genre, artist, by vote of the nearest labelled works."""
    from simsearch.classifier.neighbours import classify as vote
    from simsearch.show.hits import show_predictions, stdout
    from simsearch.show.text import json_line

    with open_collection(collection) as opened:
        for image in images:
            predictions = vote(opened, image, **options)
            if as_json:
                stdout().writelines(json_line({"image": image, **p.to_dict()}) + "\n" for p in predictions)
            else:
                show_predictions(image, predictions, stdout())
    mend(opened, collection)
