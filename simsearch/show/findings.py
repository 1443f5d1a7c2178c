"""What an audit found, and what became of a review of it, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from simsearch.figures import REASONS, Finding
from simsearch.records import EncoderInfo
from simsearch.show.numbers import counted, decimals, per_cent
from simsearch.show.table import table
from simsearch.show.text import harmless

LITTLE = 0.5
"""Agreement below which what was learned is too little to judge most labels by."""
FIRST = 5
"""Findings of each reason that a terminal shows."""
MOST_PROBLEMS = 20
WORDS = {
    "label": "the head and the neighbours say otherwise",
    "outlier": "unlike the others with its label",
    "duplicate": "one picture, two labels",
}


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit of one kind of label found."""

    kind: str
    encoder: EncoderInfo
    works: int
    """Works whose label was checked."""
    classes: int
    """Labels that were learned, to check by."""
    agreement: float
    """Share of the works whose label is the likeliest by what the other works teach, 0 to 1."""
    findings: tuple[Finding, ...]
    """By reason, in the order of `figures.REASONS`, then the most suspicious first."""
    found: Mapping[str, int]
    """How many there are of each reason, those beyond the limit included."""
    left_out: Mapping[str, int]
    """Works whose label was not checked, by reason in words."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, "encoder": str(self.encoder), "works": self.works, "classes": self.classes,
                "agreement": round(self.agreement, 4), "found": dict(self.found), "left_out": dict(self.left_out),
                "seconds": round(self.seconds, 3),
                "findings": [finding.to_dict() for finding in self.findings]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a review did, in numbers of lines."""

    labelled: int
    """Works that got a person's label, or another one."""
    already: int = 0
    """Lines whose work has the label already."""
    undecided: int = 0
    """Lines that ask for nothing."""
    new_values: tuple[str, ...] = ()
    """A sentence for each label that no work had before."""
    problems: tuple[str, ...] = ()
    """A sentence for each line that asks for something and was left aside."""


def show_audit(done: Audit, out: IO[str]) -> None:
    """How many findings there are of each reason, and the first of them."""
    labels = counted(done.classes, "label")
    out.write(harmless(f"{done.kind}: {counted(done.works, 'work')} with {labels}, by {done.encoder.name}; what the "
                       f"others teach agrees with {per_cent(done.agreement)}") + "\n")  # fmt: skip
    if done.agreement < LITTLE:
        out.write(
            "so little agreement says more of the encoder than of the labels; only the first findings are worth it\n"
        )
    for reason, works in done.left_out.items():
        out.write(harmless(f"not checked: {counted(works, 'work')} {reason}") + "\n")
    listed = {reason: [f for f in done.findings if f.reason == reason] for reason in REASONS}
    for reason in REASONS:
        there = done.found.get(reason, 0)
        fewer = f", {len(listed[reason]):,} listed" if len(listed[reason]) < there else ""
        out.write(f"{reason:<10} {there:>6,}  {WORDS[reason]}{fewer}\n")
    rows = [_row(finding) for reason in REASONS for finding in listed[reason][:FIRST]]
    if rows:
        out.write("\n")
        head = ["", "id", "title or file", f"{done.kind} now", "", "suggested", "", "score"]
        table([harmless(name) for name in head], rows, out, right=frozenset({1, 4, 6, 7}))


def show_applied(done: Applied, out: IO[str]) -> None:
    """What was done in one line, then new labels."""
    parts = [f"{counted(done.labelled, 'work')} labelled by you"]
    parts += [f"{counted(done.already, 'line')} so already"] if done.already else []
    parts += [f"{counted(done.undecided, 'line')} left as they are"] if done.undecided else []
    parts += [f"{counted(len(done.problems), 'line')} left aside"] if done.problems else []
    out.write(", ".join(parts) + "\n")
    for sentence in done.new_values:
        out.write(harmless(sentence) + "\n")


def shown_problems(problems: Sequence[str]) -> list[str]:
    """The first of the sentences, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], *([f"and {more:,} more such lines"] if more > 0 else [])]


def _row(finding: Finding) -> list[str | None]:
    return [
        finding.reason, str(finding.artwork.id), finding.artwork.name, finding.value, _share(finding.own_probability),
        finding.suggestion or "-", _share(finding.probability), decimals(finding.score),
    ]  # fmt: skip


def _share(probability: float | None) -> str:
    return "" if probability is None else per_cent(probability)
