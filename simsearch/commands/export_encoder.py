"""`simsearch export-encoder`: a network of torch as a model folder that needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import collection_option, open_collection

if TYPE_CHECKING:
    from simsearch.collection import Collection
    from simsearch.encoders.export.folder import Exported

CHECKED = 200  # the library's; a test compares


@click.command("export-encoder")
@click.argument("encoder", metavar="ENCODER")
@click.argument("dest", type=click.Path(path_type=Path), metavar="DEST")
@click.option("--name", metavar="NAME",
              help="What collections will call the encoder.  [default: the name of the run, or of DEST]")  # fmt: skip
@click.option("--revision", metavar="TEXT", help="Which state of it this is.  [default: from the file's digest]")
@click.option("--licence", metavar="TEXT", help="Under which terms the weights may be used, for the card.")
@click.option("--storage", type=click.Choice(["float32", "float16", "int8"]), default="float32", show_default=True,
              help="How weights are kept in the file; they are float32 again when it is loaded.")  # fmt: skip
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS",
              help="Side of the squares that it will see.  [default: the recipe's]")  # fmt: skip
@click.option("--resize", type=click.Choice(["squash", "crop", "pad"]),
              help="How images become squares.  [default: the recipe's]")  # fmt: skip
@click.option("--quantise", metavar="IMAGES",
              help="Also try int8 arithmetic, calibrated on a folder of images, or on the `collection`.")  # fmt: skip
@click.option("--keep-quantised", is_flag=True, help="Keep int8 arithmetic.")
@click.option("--check", type=click.IntRange(min=1), default=CHECKED, show_default=True, metavar="N",
              help="Compare folder and network on so many images.")  # fmt: skip
@click.option("--images", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER",
              help="Compare on the images in this folder.  [default: those of the collection]")  # fmt: skip
@collection_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def export_encoder(encoder: str, dest: Path, collection: Path | None, as_json: bool, **options: Any) -> None:
    """Writes an encoder on torch as a model folder, which embeds without torch.

    ENCODER is the folder of a finished run of `finetune`, or its name in the collection, or an encoder in torch as
    `index --encoder` takes it: clip:NAME/TAG (with its text tower and tokenizer), timm:NAME. DEST is then what
    --encoder takes. The folder is written only if it gives the embeddings that the network gives, on images of the
    collection or, where there is none, on painted ones, and on some two hundred texts.
    """
    if options["keep_quantised"] and not options["quantise"]:
        raise click.UsageError("--keep-quantised needs --quantise IMAGES to calibrate by")
    from simsearch.encoders.locations import parse_location

    if parse_location(encoder) is not None:
        _export_torch(encoder, dest, collection, as_json, options)
    else:
        _export_run(encoder, dest, collection, as_json, options)


def _export_torch(location: str, dest: Path, collection: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    from simsearch import collection as collections
    from simsearch.classifier.finetune.runs import check_torch

    check_torch()
    from simsearch.exporting import export_torch_encoder

    home = collections.find(collection)
    with nullcontext() if home is None else open_collection(home) as opened:
        _export(export_torch_encoder, location, dest, opened, as_json, options)


def _export_run(run: str, dest: Path, collection: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    from simsearch.classifier.finetune.finished import home_of, run_folder
    from simsearch.classifier.finetune.runs import check_torch, clip_folder

    folder = run_folder(run, collection)
    clip = clip_folder(folder)
    if clip is not None:  # a tuned CLIP is a CLIP like others, with both towers
        _export_torch(f"clip:{clip.resolve()}", dest, collection, as_json, options)
        return
    check_torch()
    from simsearch.classifier.finetune.export import export_encoder

    home = home_of(folder, collection)
    with nullcontext() if home is None else open_collection(home) as opened:
        _export(export_encoder, folder, dest, opened, as_json, options)


def _export(
    how: Callable[..., Exported],
    what: Any,
    dest: Path,
    opened: Collection | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from simsearch.encoders.export.folder import Wishes
    from simsearch.show.exported import show_exported
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.text import json_line

    given = {key: value for key, value in options.items() if value is not None}
    if given.get("quantise", "collection") != "collection":
        given["quantise"] = Path(given["quantise"])
    with progress(sys.stderr, unit="") as watch:
        done = how(what, dest, Wishes(**given), collection=opened, watch=watch)
    if as_json:
        stdout().write(json_line(done.to_dict()) + "\n")
    else:
        show_exported(done.to_dict(), stdout())
