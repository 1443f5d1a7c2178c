"""The command line: parse, call one function, show. The only importer of click.

Every other import stands inside a command, because what a command does not use is what its user waits for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.errors import SimsearchError, WhereError

if TYPE_CHECKING:
    from simsearch.collection import Collection
    from simsearch.records import Hit, IndexReport
    from simsearch.search import Query

FAILED, USAGE, WITH_FAILURES, INTERRUPTED = 1, 2, 3, 130
MAX_PIXELS = 89_000_000  # images.DEFAULT_MAX_PIXELS, which would import Pillow; a test holds them together


class Commands(click.Group):
    """Turns our errors into one sentence and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except SimsearchError as error:
            from simsearch.show.text import harmless

            click.echo(f"simsearch: {harmless(str(error))}", err=True)
            ctx.exit(USAGE if isinstance(error, WhereError) else FAILED)
        except KeyboardInterrupt:
            _say("interrupted")
            ctx.exit(INTERRUPTED)
        except OSError as error:
            raise _about_output(error) from error
        finally:
            _flush()


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"simsearch {version('simsearch')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Finds artworks that look alike.

    Fill a collection once with `index`, then ask it what is like an image (`similar`) and what an image resembles
    (`classify`). The collection is the folder .simsearch: the nearest one upward from here, or the one that
    --collection or SIMSEARCH_COLLECTION names.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but some files failed, 130 interrupted.
    """


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
    "--encoder", metavar="NAME", help="Compare by this encoder of the collection.  [default: the one indexed with last]"
)


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(readable=False, path_type=Path))
@collection_option
@click.option("--encoder", metavar="NAME", help="`color`, or a model folder with image.onnx and card.json.")
@click.option("--index", "kind", type=click.Choice(["auto", "exact", "ivf"]), default="auto", show_default=True,
              help="Kind of index; auto chooses by the number of works.")  # fmt: skip
@pixels_option
@click.option("--threads", type=click.IntRange(min=1), help="Decoding threads.  [default: one a core]")
@click.option("--rebuild", is_flag=True, help="Build the index anew even where nothing changed.")
@click.option("--prune", is_flag=True, help="Remove the works of folders that are gone or empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def index(folders: tuple[Path, ...], collection: Path | None, as_json: bool, **options: Any) -> None:
    """Brings the collection up to date with FOLDERS, or with all that it knows.

    Folders are walked with all that is in them; hidden ones are left out. A file of the same size and date as before is
    not opened again. A table artworks.csv beside the images adds titles, artists, styles and more, by a column `path`.
    """
    from simsearch.indexer.run import Options, index_folders
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.report import show_report
    from simsearch.show.text import json_line

    settings = Options(
        encoder=options["encoder"], index=options["kind"], max_pixels=options["max_pixels"], threads=options["threads"],
        rebuild=options["rebuild"], prune=options["prune"],
    )  # fmt: skip
    opened, is_new = _open_to_fill(collection, folders)
    try:
        if options["encoder"] is None and not opened.encoders():
            _say(
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


@main.command()
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

    opened = _open(collection)
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
    _mend(opened, collection)


@main.command()
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

    with _open(collection) as opened:
        for image in images:
            predictions = vote(opened, image, **options)
            if as_json:
                stdout().writelines(json_line({"image": image, **p.to_dict()}) + "\n" for p in predictions)
            else:
                show_predictions(image, predictions, stdout())
    _mend(opened, collection)


@main.command()
@collection_option
@click.option("--failures", is_flag=True, help="List the files that failed at their last attempt, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(collection: Path | None, failures: bool, as_json: bool) -> None:
    """Describes the collection: works, encoders, index, recall, sizes, failures."""
    from simsearch.show.hits import show_failures, show_json, stdout
    from simsearch.show.info import facts, show_facts
    from simsearch.show.text import json_line

    with _open(collection) as opened:
        if failures:
            (show_json if as_json else show_failures)(opened.catalog.failures(), stdout())
        elif as_json:
            stdout().write(json_line(facts(opened)) + "\n")
        else:
            show_facts(facts(opened), stdout())


@main.command()
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
    with _open(collection) as opened:
        entry = opened.encoder_entry(encoder)
        try:
            if path := files["csv"]:
                _say(f"{writing.export_csv(opened, path):,} works in {path}")
            if path := files["parquet"]:
                _say(f"{writing.export_parquet(opened, path, entry):,} works in {path}")
            if path := files["embeddings"]:
                _say(f"{writing.export_embeddings(opened, entry, path):,} embeddings in {path}")
        except OSError as error:
            raise SimsearchError(
                f"{error.filename or 'the file'} cannot be written: {error.strerror or error}"
            ) from error


def _flush() -> None:
    """Writes what waits for standard output, while there is still somebody to tell that it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _about_output(error) from error


def _about_output(error: OSError) -> Exception:
    """The same error, or a sentence where it is standard output that cannot be written."""
    if error.filename is not None or isinstance(error, BrokenPipeError):
        return error  # click ends quietly where who reads has seen enough
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  the interpreter would try again at its end
    return click.ClickException(f"standard output cannot be written: {error.strerror or error}")


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _open(path: Path | None) -> Collection:
    from simsearch.collection import Collection

    opened = Collection.open(path)
    opened.notice = _say
    return opened


def _open_to_fill(path: Path | None, folders: tuple[Path, ...]) -> tuple[Collection, bool]:
    """The collection to index into, and whether it is a new one, which is said."""
    from simsearch.collection import exists, open_collection
    from simsearch.indexer.sources.folder import check_folder

    is_new = not exists(path)
    if is_new:
        for folder in folders:
            check_folder(folder)  # before anything is made
    opened = open_collection(path, write=True)
    opened.notice = _say
    if is_new:
        _say(f"new collection {opened.folder}")
    return opened, is_new


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
    _say(f"contact sheet in {path}")


def _mend(opened: Collection, path: Path | None) -> None:
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
                _say(f"the index of {entry.info.name} was built again from the catalog")
    except CollectionError as error:
        _say(f"the index stays as it is: {error}")


def _status(report: IndexReport) -> int:
    if report.interrupted:
        return INTERRUPTED
    return WITH_FAILURES if report.failures or report.notes or report.unreachable else 0
