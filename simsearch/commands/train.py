"""`simsearch train`: linear heads from the labels of the collection."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import collection_option, say, used_encoder_option

if TYPE_CHECKING:
    from simsearch.classifier.train import Choices

NEAR_DUPLICATE, THRESHOLD, SHARE = 0.93, 0.5, 0.2  # the library's; a test compares


@click.command()
@click.option("--label", "labels", multiple=True, required=True, metavar="KIND",
              help="Kind of label to learn, such as style; may be given several times.")  # fmt: skip
@click.option("--name", metavar="NAME", help="What to call the head.  [default: the kind's name]")
@collection_option
@used_encoder_option
@click.option("--where", metavar="EXPR", help="Only works that fit, such as \"origin = 'squashed'\".")
@click.option("--drop", multiple=True, metavar="CLASS", help="Leave this class out; may be given several times.")
@click.option("--map", "mapping", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Merge classes by a CSV with columns `from` and `to`; an empty `to` drops one.")  # fmt: skip
@click.option("--min-images", type=click.IntRange(min=2), default=2, show_default=True, metavar="N",
              help="Leave out classes with fewer works to train on.")  # fmt: skip
@click.option("--cap", type=click.IntRange(min=2), metavar="N", help="Train on at most so many works of a class.")
@click.option("--split-by", default="auto", show_default=True, metavar="ATTRIBUTE",
              help="Column that says `train` or `val` of a work; auto: KIND_split, else split; none: draw "
                   "a split.")  # fmt: skip
@click.option("--held-out", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=SHARE,
              show_default=True, metavar="SHARE", help="Share to hold out where no split is published.")  # fmt: skip
@click.option("--group-by", type=click.Choice(["artist"]),
              help="Draw a split that holds whole artists out; works by unknown artists stay away.")  # fmt: skip
@click.option("--near-duplicates", type=click.FloatRange(0, 1, min_open=True), default=NEAR_DUPLICATE,
              show_default=True, metavar="COSINE",
              help="Works at least so alike count as one picture, on one side of the split.")  # fmt: skip
@click.option("--balance", type=click.Choice(["none", "weights", "sampling"]), default="none", show_default=True,
              help="How small classes are brought level with large ones.")  # fmt: skip
@click.option("--pseudo-label", type=click.FloatRange(0, 1), metavar="P",
              help="Also learn from unlabelled works whose prediction is at least this sure.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1), default=THRESHOLD, show_default=True, metavar="P",
              help="Below this probability the head will answer \"unsure\".")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Number by which every draw is made again as it was.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print each head's card as JSON.")
def train(labels: tuple[str, ...], name: str | None, collection: Path | None, as_json: bool, **options: Any) -> None:
    """Learns to tell styles, genres, artists or kinds from the labels and embeddings of the collection.

    A part of the works is held out, the published one where the works carry it (`split`), and the head is measured on
    it once. Near-duplicates never stand on both sides. The head and a card that says all of this are saved in the
    collection, for `classify` and `evaluate`.
    """
    if name and len(labels) > 1:
        raise click.UsageError("--name is for one --label; several heads take their kinds' names")
    from simsearch.classifier.head import folder_of
    from simsearch.classifier.train import groups_for
    from simsearch.classifier.train import train as learn
    from simsearch.collection import Collection
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.text import json_line
    from simsearch.show.trained import show_trained

    choices = _choices(options)
    with Collection.open(collection, write=True) as opened:
        opened.notice = say
        entry = opened.encoder_entry(options["encoder"])
        with progress(sys.stderr, unit="") as watch:
            groups = groups_for(opened, labels, choices, watch)
        for i, kind in enumerate(dict.fromkeys(labels)):
            with progress(sys.stderr, unit="") as watch:  # its bar is gone before anything is shown
                head = learn(
                    opened, kind, name=name, encoder=options["encoder"], choices=choices, groups=groups, watch=watch
                )
            if as_json:
                stdout().write(json_line(head.to_dict()) + "\n")
                continue
            stdout().write("\n" if i else "")
            chosen = f" --encoder {entry.info.name}" if entry != opened.encoder_entry() else ""
            path = folder_of(opened, entry.info) / f"{head.name}.json"
            show_trained(head.to_dict(), str(path), stdout(), chosen)


def _choices(options: dict[str, Any]) -> Choices:
    from simsearch.classifier.prepare import ClassChoices, SplitChoices, read_mapping
    from simsearch.classifier.train import Choices

    merge = read_mapping(options["mapping"]) if options["mapping"] else {}
    return Choices(
        where=options["where"],
        split_by=options["split_by"],
        classes=ClassChoices(merge, options["drop"], options["min_images"], options["cap"]),
        split=SplitChoices(options["split_by"] != "none", options["held_out"], options["group_by"], options["seed"]),
        near_duplicate=options["near_duplicates"],
        balance=options["balance"],
        pseudo_label=options["pseudo_label"],
        threshold=options["threshold"],
    )
