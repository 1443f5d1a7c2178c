"""`simsearch index`: brings a collection up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import INTERRUPTED, WITH_FAILURES, collection_option, pixels_option, say

if TYPE_CHECKING:
    from simsearch.collection import Collection
    from simsearch.records import IndexReport


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(readable=False, path_type=Path))
@collection_option
@click.option("--encoder", "encoders", multiple=True, metavar="NAME",
              help="`color`, a model folder with image.onnx and card.json, clip:NAME/TAG (open_clip) or timm:NAME; may "
                   "be given several times, the default first. It stays current from then on.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Local weights of clip: and timm:.")
@click.option("--layer", metavar="LAYER", help="timm: features of this layer, by its name in the network.")
@click.option("--pool", metavar="HOW", help="timm: how positions become one embedding: avg, max, token or gram.")
@click.option("--index", "kind", type=click.Choice(["auto", "exact", "ivf"]), default="auto", show_default=True,
              help="Kind of index; auto chooses by the number of works.")  # fmt: skip
@pixels_option
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="torch: auto, cuda, mps or cpu.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
              help="torch: auto is fp32 on a processor and bf16 or fp16 on CUDA.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Images at once.  [default: the encoder's own]")
@click.option("--threads", type=click.IntRange(min=1), help="Decoding threads.  [default: one a core]")
@click.option("--rebuild", is_flag=True, help="Build the index anew even where nothing changed.")
@click.option("--prune", is_flag=True, help="Remove the works of folders that are gone or empty.")
@click.option("--labels", multiple=True, metavar="WHAT[=KIND]",
              help="Labels for FOLDERS: `folders=KIND`, LIST.csv=KIND, a folder of ArtGAN's WikiArt lists or of "
                   "Painting91's files; `wikiart` or `painting91` where they lie in FOLDERS; `none`.  [default: as "
                   "before, or `auto`, which finds such lists in FOLDERS by their names]")  # fmt: skip
@click.option(
    "--classes",
    multiple=True,
    metavar="FILE[=KIND]",
    help="Class file of a list that holds class indices: lines `0 Name`, or a name a line.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def index(folders: tuple[Path, ...], collection: Path | None, as_json: bool, **options: Any) -> None:
    """Brings the collection up to date with FOLDERS, or with all that it knows.

    Folders are walked with all that is in them; hidden ones are left out. A file of the same size and date as before is
    not opened again. A table artworks.csv beside the images adds titles, artists, styles and more, by a column `path`.
    --labels adds what images are, where that stands elsewhere; KIND is artist, style, genre or kind. It is remembered.
    """
    from simsearch.encoders.running import Running
    from simsearch.indexer.run import Options, index_folders
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.report import show_report
    from simsearch.show.text import json_line

    settings = Options(
        encoder=_locations(options) or None, index=options["kind"], max_pixels=options["max_pixels"],
        threads=options["threads"],
        rebuild=options["rebuild"], prune=options["prune"], labels=options["labels"], classes=options["classes"],
        running=Running(options["device"], options["precision"], options["batch"]),
    )  # fmt: skip
    opened, is_new = _open_to_fill(collection, folders)
    try:
        if not options["encoders"] and not opened.encoders():
            say(
                "using the encoder `color`: it compares palette, layout, texture, not subjects; --encoder names another"
            )
        with progress(sys.stderr) as watch:
            report = index_folders(opened, folders, settings, watch)
    finally:
        if is_new:
            opened.discard()
        opened.close()
    stdout().write(json_line(report.to_dict()) + "\n") if as_json else show_report(report, stdout())
    raise SystemExit(_status(report))


def _locations(options: dict[str, Any]) -> list[str]:
    """The encoders to embed with, with what --weights, --layer and --pool say of them."""
    from simsearch.encoders.locations import OPTIONS, with_settings

    said = {name: str(options[name]) for name in ("weights", "layer", "pool") if options[name] is not None}
    out = []
    for place, name in enumerate(options["encoders"]):
        takes = OPTIONS.get(name.partition(":")[0], ())
        nobody = place == len(options["encoders"]) - 1  # what none of them takes is refused by the last
        given = {key: said.pop(key) for key in list(said) if key in takes or nobody}
        out.append(with_settings(name, given))
    return out


def _open_to_fill(path: Path | None, folders: tuple[Path, ...]) -> tuple[Collection, bool]:
    """The collection to index into, and whether it is a new one, which is said."""
    from simsearch.collection import exists, open_collection
    from simsearch.indexer.sources.folder import check_folder

    is_new = not exists(path)
    if is_new:
        for folder in folders:
            check_folder(folder)  # before anything is made
    opened = open_collection(path, write=True)
    opened.notice = say
    if is_new:
        say(f"new collection {opened.folder}")
    return opened, is_new


def _status(report: IndexReport) -> int:
    if report.interrupted:
        return INTERRUPTED
    reports = (report, *report.followed_by)
    return WITH_FAILURES if any(each.failures or each.notes or each.unreachable for each in reports) else 0
