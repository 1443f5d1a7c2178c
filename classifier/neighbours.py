"""What an image resembles, by vote of the nearest labelled works.

Each of the `voters` nearest works that carry a label of a kind has one vote (k nearest neighbours, Cover & Hart 1967);
between values with as many votes the one whose voters are nearer comes first. The share of the votes is what it says:
a share, no probability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from simsearch import images, search
from simsearch.collection import Collection
from simsearch.errors import QueryError
from simsearch.records import Hit, Prediction

VOTERS = 10


def classify(
    collection: Collection,
    image: search.Image,
    *,
    labels: Sequence[str] = (),
    top: int = 1,
    voters: int = VOTERS,
    encoder: str | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> list[Prediction]:
    """For each kind of label the `top` values that the most of the nearest works carry, the best first.

    The image itself has no vote where it is an artwork of the collection. `labels` limits the kinds. Raises ImageError,
    EncoderError, and QueryError where no work has a label.
    """
    if top < 1 or voters < 1:
        raise QueryError(f"top is {top} and voters {voters}; both start at 1")
    with collection.catalog.snapshot():
        kinds = _kinds(collection, labels)
        asked = search.ask(collection, [image], encoder=encoder, max_pixels=max_pixels)
        out = []
        for kind in kinds:
            labelled = search.Filters(only=collection.catalog.labelled_ids(kind))
            hits = search.find(collection, asked, voters, labelled, encoder)
            out += vote(kind, hits)[:top]
        return out


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


def _kinds(collection: Collection, labels: Sequence[str]) -> list[str]:
    there = collection.catalog.label_kinds()
    if not there:
        raise QueryError(
            "no work of this collection has a label to vote with; put an artworks.csv with columns path, style, genre "
            "or artist beside the images and run `simsearch index` again"
        )
    unknown = [kind for kind in labels if kind not in there]
    if unknown:
        raise QueryError(f"no work of this collection has a label {unknown[0]!r}; there are {', '.join(there)}")
    return list(dict.fromkeys(labels)) or there
