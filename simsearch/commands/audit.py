"""`simsearch audit`: labels that look wrong, a review sheet of them, and what a person decided on it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import WITH_FAILURES, collection_option, open_collection, say, used_encoder_option
from simsearch.errors import SimsearchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simsearch.collection import Collection
    from simsearch.figures import Finding
    from simsearch.show.findings import Audit

LIMIT = 50


@click.command()
@collection_option
@used_encoder_option
@click.option("--label", "labels", multiple=True, metavar="KIND",
              help="Check this kind of label, such as style.  [default: every kind]")  # fmt: skip
@click.option("--where", metavar="EXPR", help="Only works that fit, such as \"source = 'folder:tate'\".")
@click.option("--limit", type=click.IntRange(min=0), default=LIMIT, show_default=True, metavar="N",
              help="Findings of each reason, the most suspicious first; 0 for all.")  # fmt: skip
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the review sheet as a page with the pictures.")  # fmt: skip
@click.option("--csv", "csv", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the review as a table to fill in.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a kind of label.")
@click.option("--apply", "review", type=click.Path(path_type=Path), metavar="FILE",
              help="Store what was accepted in a filled-in review, and check nothing.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="The same seed gives the same findings.")  # fmt: skip
def audit(
    labels: tuple[str, ...], collection: Path | None, html: Path | None, csv: Path | None, as_json: bool,
    review: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Finds labels that look wrong, for a person to review.

    Labels that the other works contradict; works unlike all others with their label; and one picture with two labels.
    Nothing is changed before --apply, which makes accepted corrections labels of yours: they count for more than what
    the source says, whenever it is read again.
    """
    if review is not None:
        if html or csv or as_json or labels or options["where"] or options["encoder"]:
            raise click.UsageError("--apply stands alone, with --collection at most")
        raise SystemExit(_apply(review, collection))
    with open_collection(collection) as opened:
        done = _audited(opened, labels, options)
        findings = [finding for one in done for finding in one.findings]
        _show(done, as_json)
        if csv:
            _write_csv(csv, findings)
        if html:
            _write_page(html, findings, csv)
    _say_what_now(findings, html, csv)


def _audited(opened: Collection, labels: tuple[str, ...], options: dict[str, Any]) -> list[Audit]:
    from simsearch.classifier.audit import audit_kinds
    from simsearch.show.progress import progress

    with progress(sys.stderr, unit="") as watch:
        return audit_kinds(opened, labels, **options | {"limit": options["limit"] or None}, watch=watch)


def _show(done: list[Audit], as_json: bool) -> None:
    from simsearch.show.findings import show_audit
    from simsearch.show.hits import stdout
    from simsearch.show.text import json_line

    for number, one in enumerate(done):
        if as_json:
            stdout().write(json_line(one.to_dict()) + "\n")
        else:
            stdout().write("\n" if number else "")
            show_audit(one, stdout())


def _write_csv(path: Path, findings: list[Finding]) -> None:
    from simsearch.show.review_file import write_review

    with _writing(path):
        write_review(findings, path)
    say(f"review in {path}")


def _write_page(path: Path, findings: list[Finding], csv: Path | None) -> None:
    from simsearch.show.page import thumbnail_of
    from simsearch.show.review import CSV_NAME, review_page

    with _writing(path):
        path.write_text(review_page(findings, thumbnail_of, csv.name if csv else CSV_NAME), encoding="utf-8")
    say(f"review sheet in {path}")


def _say_what_now(findings: list[Finding], html: Path | None, csv: Path | None) -> None:
    if not findings:
        say("nothing to review")
    elif csv:
        then = f"`simsearch audit --apply {quote(str(csv))}`"
        say(f"now write yes under accept, or the right label under correction, and run {then}")
    elif html:
        say("now decide on the sheet in a browser, download the CSV from it, and run `simsearch audit --apply` on that")
    else:
        say("now add --html review.html --csv review.csv to look at them and decide")


def _apply(review: Path, collection: Path | None) -> int:
    from simsearch.classifier.audit_apply import apply
    from simsearch.collection import Collection
    from simsearch.show.findings import show_applied, shown_problems
    from simsearch.show.hits import stdout
    from simsearch.show.review_file import read_review
    from simsearch.show.text import harmless

    rows = read_review(review)
    with Collection.open(collection, write=True) as opened:
        opened.notice = say
        done = apply(opened, rows)
    show_applied(done, stdout())
    for sentence in shown_problems(done.problems):
        say(f"{review}, {harmless(sentence)}" if sentence.startswith("line ") else sentence)
    return WITH_FAILURES if done.problems else 0


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SimsearchError(f"{path} cannot be written: {error.strerror or error}") from error
