"""What an image resembles, by vote of the nearest labelled works.

Each of the `voters` nearest works that carry a label of a kind has one vote (k nearest neighbours, Cover & Hart 1967);
between values with as many votes the one whose voters are nearer comes first. The share of the votes is what it says:
a share, no probability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from simsearch import search
from simsearch.catalog.catalog import Ids
from simsearch.classifier.labelled import check_kind
from simsearch.collection import Collection
from simsearch.query import Query
from simsearch.records import Hit, Prediction

VOTERS = 10


def answer(
    collection: Collection,
    kind: str,
    asked: Query,
    top: int,
    voters: int,
    labelled: Ids,
    encoder: str | None = None,
) -> list[Prediction]:
    """The `top` values of a kind that the most of the nearest works among `labelled` carry, the best first.

    The image itself has no vote where it is an artwork of the collection.
    """
    return vote(kind, search.find(collection, [asked], voters, search.Filters(only=labelled), encoder))[:top]


def vote(kind: str, hits: Sequence[Hit]) -> list[Prediction]:
    """All values that these hits carry, by votes and then by the sum of their voters' cosines, then by name."""
    voters: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        value = hit.artwork.label(kind)
        if value is not None:
            voters[value].append(hit)
    of = sum(map(len, voters.values()))
    ranked = sorted(voters.items(), key=lambda item: (-len(item[1]), -sum(h.score for h in item[1]), item[0]))
    return [Prediction(kind, value, round(len(v) / of, 4), len(v), of, tuple(v)) for value, v in ranked]


def kinds(collection: Collection, labels: Sequence[str]) -> list[str]:
    """The kinds to vote on: these, or all that some work is labelled with. Raises LabelError for one that none has."""
    there = collection.catalog.label_kinds(said=True)
    for kind in labels or there[:1] or ["style"]:
        if kind not in there:
            check_kind(collection.catalog, kind)
    return list(dict.fromkeys(labels)) or there
