"""`simsearch classify`: what an image resembles, or every work that nobody has labelled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import (
    FAILED,
    WITH_FAILURES,
    collection_option,
    mend,
    open_collection,
    pixels_option,
    say,
    used_encoder_option,
)

if TYPE_CHECKING:
    from simsearch.records import Prediction

FOR_IMAGES = {"top": "--top", "voters": "--voters", "max_pixels": "--max-pixels"}


@click.command()
@click.argument("images", nargs=-1, metavar="[IMAGE...]")
@collection_option
@used_encoder_option
@click.option("--label", "labels", multiple=True, metavar="KIND",
              help="Only this kind of label, such as style, or the head of this name.")  # fmt: skip
@click.option(
    "--top", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Values of each kind."
)
@click.option("--by", type=click.Choice(["auto", "head", "neighbours"]), default="auto", show_default=True,
              help="By a trained head, or by vote of the nearest labelled works; auto: by a head if there "
                   "is one.")  # fmt: skip
@click.option(
    "--voters", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Works that vote."
)
@click.option("--threshold", type=click.FloatRange(0, 1), metavar="P",
              help="A head answers \"unsure\" below this probability.  [default: the head's own]")  # fmt: skip
@pixels_option
@click.option("--json", "form", flag_value="json", help="One JSON object a line.")
@click.option("--csv", "form", flag_value="csv", help="Comma-separated values with a header.")
def classify(images: tuple[str, ...], collection: Path | None, form: str | None, **options: Any) -> None:
    """Says what each IMAGE resembles: style, genre, artist, with the works behind the answer.

    IMAGE is a path, a URL, - for standard input, or an artwork's id. Where a trained head is unsure, the answer is
    "unsure", with the nearest labelled works. Where there is no collection, and for kinds that none of its heads knows,
    the heads answer that come with the encoder `art`.

    Without an IMAGE every work that nobody has labelled is given a prediction by the trained heads, in place of earlier
    ones. It never replaces what a source or a person said; `--where "style_origin = 'predicted'"` finds it, `similar`
    marks it with (?).
    """
    if not images:
        _label_all(collection, form, **options)
        return
    if images.count("-") > 1:
        raise click.UsageError("standard input holds one image; use - once")
    from simsearch.collection import find

    failures: list[str] = []
    if options["by"] != "neighbours" and find(collection) is None:  # where one was named and is not there, it says so
        from simsearch.classifier.shipped import ShippedClassifier

        alone = ShippedClassifier(labels=options["labels"], encoder=options["encoder"])
        _show(_answers(alone.classify, images, failures, **options), form)
    else:
        from simsearch.classifier.classify import Classifier

        with open_collection(collection) as opened:
            asked = Classifier(opened, labels=options["labels"], by=options["by"], encoder=options["encoder"])
            ask = partial(asked.classify, voters=options["voters"])
            _show(_answers(ask, images, failures, **options), form)
        mend(opened, collection)
    if failures:
        raise SystemExit(WITH_FAILURES if len(failures) < len(images) else FAILED)


def _show(answers: Iterable[tuple[str, list[Prediction]]], form: str | None) -> None:
    from simsearch.show import hits as show

    if form == "csv":
        show.show_prediction_csv(answers, show.stdout())
    elif form == "json":
        show.show_prediction_json(answers, show.stdout())
    else:
        for image, predictions in answers:
            show.show_predictions(image, predictions, show.stdout())


def _answers(
    ask: Callable[..., list[Prediction]], images: Sequence[str], failures: list[str], *, top: int,
    threshold: float | None, max_pixels: int, **_: Any,
) -> Iterator[tuple[str, list[Prediction]]]:  # fmt: skip
    """(image, answers) of each; of several images those that cannot be answered are said and named in `failures`."""
    from simsearch.errors import ArtworkNotFoundError, ImageError
    from simsearch.show.text import harmless

    for image in images:
        try:
            said = ask(image, top=top, threshold=threshold, max_pixels=max_pixels)
        except (ImageError, ArtworkNotFoundError) as error:
            if len(images) == 1:
                raise
            failures.append(image)
            say(f"simsearch: {harmless(str(error))}")
        else:
            yield image, said


def _label_all(collection: Path | None, form: str | None, **options: Any) -> None:
    if options["by"] == "neighbours":
        raise click.UsageError("a whole collection is labelled by trained heads; name an image, or leave --by away")
    if form == "csv":
        raise click.UsageError("--csv is for images; `simsearch export --csv FILE` writes the whole collection")
    given = click.get_current_context().get_parameter_source
    for name, option in FOR_IMAGES.items():
        if given(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} is for images; name one, or leave it away to label the whole collection")
    from simsearch.classifier.classify import label_collection
    from simsearch.collection import Collection
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.text import json_line
    from simsearch.show.trained import show_labellings

    with Collection.open(collection, write=True) as opened, progress(sys.stderr, unit="works") as watch:
        done = label_collection(
            opened, labels=options["labels"], encoder=options["encoder"], threshold=options["threshold"], watch=watch
        )
    if form == "json":
        stdout().writelines(json_line(one.to_dict()) + "\n" for one in done)
    else:
        show_labellings([one.to_dict() for one in done], stdout())
