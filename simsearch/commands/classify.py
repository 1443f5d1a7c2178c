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
@click.option("--labels", "named", metavar="LIST",
              help='Choose among these by words alone: "portrait,landscape,still life". It takes an encoder that '
                   "reads words.")  # fmt: skip
@click.option("--template", "templates", multiple=True, metavar="TEXT",
              help='With --labels: a sentence with {} for the label, such as "a painting of {}"; may be given several '
                   "times.")  # fmt: skip
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
def classify(
    images: tuple[str, ...], collection: Path | None, form: str | None, named: str | None, **options: Any
) -> None:
    """Says what each IMAGE resembles: style, genre, artist, with the works behind the answer.

    IMAGE is a path, a URL, - for standard input, or an artwork's id. Where a trained head is unsure, the answer is
    "unsure", with the nearest labelled works. Where there is no collection, and for kinds that none of its heads knows,
    the heads answer that come with the encoder `art`.

    Without an IMAGE every work that nobody has labelled is given a prediction by the trained heads, in place of earlier
    ones. It never replaces what a source or a person said; `--where "style_origin = 'predicted'"` finds it, `similar`
    marks it with (?).

    With --labels no head and no neighbour is asked: the image is compared with the labels in words. Nothing is stored.
    """
    if named is not None:
        _by_words(images, collection, form, named, **options)
        return
    if options.pop("templates"):
        raise click.UsageError("--template puts the words of --labels into a sentence; give --labels too")
    if not images:
        _label_all(collection, form, **options)
        return
    _check_images(images)
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
    _leave(failures, images)


def _check_images(images: Sequence[str]) -> None:
    if images.count("-") > 1:
        raise click.UsageError("standard input holds one image; use - once")


def _leave(failures: Sequence[str], images: Sequence[str]) -> None:
    if failures:
        raise SystemExit(WITH_FAILURES if len(failures) < len(images) else FAILED)


def _by_words(
    images: Sequence[str], collection: Path | None, form: str | None, named: str, *, labels: Sequence[str],
    templates: Sequence[str], encoder: str | None, **options: Any,
) -> None:  # fmt: skip
    """Answers by words alone, of an encoder of the collection, or of a named one where there is no collection."""
    if not images:
        raise click.UsageError("--labels answers for the images that are named, and stores nothing; name an image")
    _check_images(images)
    if len(labels) > 1:
        raise click.UsageError("--labels are of one kind; give one --label with them, or none")
    given = click.get_current_context().get_parameter_source
    for name in ("by", "voters"):
        if given(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} is for heads and neighbours, and --labels asks neither; leave one away")
    from simsearch.classifier.zero_shot import KIND, ZeroShotClassifier, labels_in
    from simsearch.collection import find

    ask = partial(
        ZeroShotClassifier, labels_in(named), templates=templates, kind=labels[0] if labels else KIND, encoder=encoder
    )
    failures: list[str] = []
    if find(collection) is None:
        _show(_answers(ask(notice=say).classify, images, failures, **options), form)
    else:
        with open_collection(collection) as opened:
            _show(_answers(ask(collection=opened).classify, images, failures, **options), form)
    _leave(failures, images)


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
