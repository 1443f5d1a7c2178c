"""`simsearch evaluate`: how good a head, and similarity itself, is on works that were held out."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import collection_option, open_collection, say, used_encoder_option
from simsearch.errors import SimsearchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simsearch.classifier.zero_shot import Wording
    from simsearch.collection import Collection
    from simsearch.figures import Comparison, Evaluation


@click.command()
@collection_option
@used_encoder_option
@click.option("--label", "labels", multiple=True, required=True, metavar="KIND",
              help="Kind of label, such as style; may be given several times.")  # fmt: skip
@click.option("--split", default="val", show_default=True, metavar="PART",
              help="Part to measure on; train is what the head has seen.")  # fmt: skip
@click.option("--head", metavar="NAME", help="This head.  [default: the one named like its kind]")
@click.option("--where", metavar="EXPR", help='Only works that fit, such as "begin_year > 1900".')
@click.option("--zero-shot", is_flag=True,
              help="Name the same works by words alone too; it takes an encoder of the collection that reads "
                   "words.")  # fmt: skip
@click.option("--labels", "named", metavar="LIST",
              help='Zero-shot among these labels, such as "Baroque,Cubism".  [default: those of the head]')  # fmt: skip
@click.option("--template", "templates", multiple=True, metavar="TEXT",
              help='Zero-shot with this sentence, such as "a painting in the style of {}"; may be given several '
                   "times.")  # fmt: skip
@click.option("--compare", nargs=2, metavar="A B",
              help="Two heads or encoders on the same works: HEAD, ENCODER or ENCODER/HEAD.")  # fmt: skip
@click.option("--resamples", type=click.IntRange(min=100), default=1000, show_default=True, metavar="N",
              help="Resamples that the 95 % intervals are made of.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="The same seed gives the same figures.")  # fmt: skip
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write a report with plots and the works most often confused.")  # fmt: skip
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write confusion, reliability and coverage as PNG.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a kind of label.")
def evaluate(
    labels: tuple[str, ...], collection: Path | None, head: str | None, compare: tuple[str, str] | None,
    html: Path | None, plots: Path | None, as_json: bool, zero_shot: bool, named: str | None,
    templates: tuple[str, ...], **options: Any,
) -> None:  # fmt: skip
    """Measures what is known of a label, on works that were held out.

    The head beside the nearest works, the commonest class and chance; probabilities; and similarity as a search, with
    and without works by the same artist. Each figure has a 95 % bootstrap interval. With --zero-shot also labels named
    by words alone, and a test of their difference from the head.
    """
    labels = tuple(dict.fromkeys(labels))
    if head and len(labels) > 1:
        raise click.UsageError("--head names one head, which has one kind of label; give one --label")
    if compare and (head or html or plots):
        raise click.UsageError("--compare takes neither --head nor --html nor --plots")
    wording = _wording(zero_shot, named, templates)
    if compare and wording:
        raise click.UsageError("--compare takes no zero-shot; without --compare it is tested against the head")
    if named is not None and len(labels) > 1:
        raise click.UsageError("--labels are of one kind; give one --label, or --zero-shot alone")
    with open_collection(collection) as opened:
        for label in labels:
            if compare:
                _show(_compared(opened, label, compare, options), as_json)
                continue
            done = _evaluated(opened, label, head, options | {"zero_shot": wording})
            _show(done, as_json)
            if html:
                _write_page(html if len(labels) == 1 else html.with_stem(f"{html.stem}-{_safe(label)}"), done)
            if plots:
                _write_plots(plots, done)


def _wording(zero_shot: bool, named: str | None, templates: tuple[str, ...]) -> Wording | None:
    """What is asked in words, if anything is; without labels these are the classes of each kind."""
    if not zero_shot and named is None:
        if templates:
            raise click.UsageError("--template is a sentence for zero-shot; give --zero-shot or --labels too")
        return None
    from simsearch.classifier.zero_shot import Wording, checked_labels, checked_templates, labels_in

    labels = () if named is None else checked_labels(labels_in(named))
    return Wording(labels, templates=checked_templates(templates))


def _evaluated(opened: Collection, label: str, head: str | None, options: dict[str, Any]) -> Evaluation:
    from simsearch.classifier.evaluate import evaluate as measure
    from simsearch.show.progress import progress

    with progress(sys.stderr, unit="") as watch:
        return measure(opened, label, head=head, watch=watch, **options)


def _compared(opened: Collection, label: str, names: tuple[str, str], options: dict[str, Any]) -> Comparison:
    from simsearch.classifier.compare import compare
    from simsearch.show.progress import progress

    with progress(sys.stderr, unit="") as watch:
        return compare(opened, label, *names, watch=watch, **options)


def _show(done: Evaluation | Comparison, as_json: bool) -> None:
    from simsearch.figures import Evaluation
    from simsearch.show.evaluation import show_comparison, show_evaluation
    from simsearch.show.hits import stdout
    from simsearch.show.text import json_line

    if as_json:
        stdout().write(json_line(_finite(done.to_dict())) + "\n")
    elif isinstance(done, Evaluation):
        show_evaluation(done, stdout())
    else:
        show_comparison(done, stdout())


def _finite(value: Any) -> Any:
    """The same with None for what was not defined: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_page(path: Path, done: Evaluation) -> None:
    from simsearch.show.evaluation_page import evaluation_page

    with _writing(path):
        path.write_text(evaluation_page(done), encoding="utf-8")
    say(f"report in {path}")


def _write_plots(folder: Path, done: Evaluation) -> None:
    from simsearch.show import plots

    if done.head is None:
        say(f"no plots of {done.kind}: they show a head's probabilities, and no head was measured")
        return
    drawn = {"confusion": plots.confusion_plot, "reliability": plots.reliability_plot, "coverage": plots.coverage_plot}
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in drawn.items():
            (folder / f"{_safe(done.kind)}-{name}.png").write_bytes(draw(done.head))
    say(f"plots of {done.kind} in {folder}")


def _safe(kind: str) -> str:
    """A kind of label as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in kind)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SimsearchError(f"{error.filename or path} cannot be written: {error.strerror or error}") from error
