"""Labels flipped at random in a copy of a collection, and how many of them stand among the first findings of `audit`.

Of N works in twenty the label becomes another one: any other (`random`), or that of the most alike work with another
label (`neighbour`), which is the likelier mistake and harder to see. A method's precision at N is the share of flips
among its first N findings. Beside `audit` stand chance, a linear head's least probabilities and least margins, the
isolation forests alone, and cleanlab where it is installed.

    python tests/benchmarks/audit_flips.py --art ART [--collection FOLDER] [--encoder NAME] [--seeds 3]

Without a collection the pictures of ART/wikiart are indexed with `color`.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from bench import arguments, finish, timed

from simsearch import Options, index_folders
from simsearch.catalog.labelled import trusted_labels
from simsearch.classifier import audit_labels
from simsearch.classifier.audit import audit
from simsearch.classifier.audit_outliers import anomalies
from simsearch.classifier.groups import Groups, near_duplicates
from simsearch.classifier.labelled import load
from simsearch.classifier.split import folds
from simsearch.collection import CATALOG, FOLDER, Collection, EncoderEntry

SHARE = 0.05


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, collection="", encoder="", seeds=3)
    kind = "genre" if args.smoke else "style"  # a few painted pictures have too few of each style
    out: dict[str, Any] = {"kind": kind, "share_flipped": SHARE, "cleanlab": cleanlab_version(), "encoders": {}}
    with tempfile.TemporaryDirectory() as scratch, copy_of(args, Path(scratch)) as collection:
        ids, true = trusted_labels(collection.catalog, kind)
        groups = near_duplicates(collection, ids)
        out |= {"works": len(ids), "labels": len(np.unique(true)), "flips": round(SHARE * len(ids))}
        for entry in [collection.encoder_entry(args.encoder)] if args.encoder else collection.encoders():
            if len(collection.catalog.embeddings(entry.number, entry.info.dim, ids)[1]) < len(ids):
                print(f"{entry.info.name} has not embedded all works; left out", file=sys.stderr)
                continue
            runs = [
                run(collection, entry, kind, how, seed, groups, (ids, true))
                for how, seeds in (("random", 1 if args.smoke else args.seeds), ("neighbour", 1))
                for seed in range(seeds)
            ]
            out["encoders"][str(entry.info)] = {"mean": means(runs), "runs": runs}
    finish("audit_flips", out, args)


def copy_of(args: Any, scratch: Path) -> Collection:
    """A collection to change: a copy of the catalog of one, or a new one of the pictures."""
    if not args.collection:
        collection = Collection.create(scratch)
        index_folders(collection, [args.art / "wikiart"], Options(encoder="color"))
        return collection
    (scratch / FOLDER).mkdir()
    with (
        closing(sqlite3.connect(f"file:{Path(args.collection) / FOLDER / CATALOG}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(scratch / FOLDER / CATALOG)) as copy,
    ):
        source.backup(copy)
    return Collection.open(scratch, write=True)


def run(
    collection: Collection, entry: EncoderEntry, kind: str, how: str, seed: int, groups: Groups,
    labelled: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    """Flips labels, audits, and counts; the labels are put back."""
    ids, true = labelled
    draw = np.random.default_rng(seed)
    places = np.sort(draw.permutation(len(ids))[: round(SHARE * len(ids))])
    rows = collection.catalog.embeddings(entry.number, entry.info.dim, ids)[0]
    flipped = [other_label(how, place, rows, true, draw) for place in places.tolist()]
    print(f"{entry.info.name}, {how}, seed {seed}", file=sys.stderr)
    say(collection, kind, ids[places], flipped)
    try:
        found: list[int] = []
        limit = 2 * len(places)

        def check() -> None:
            done = audit(collection, kind, encoder=entry.info.name, limit=limit, seed=seed, groups=groups)
            found.extend(f.artwork.id for f in done.findings if f.reason == "label")

        seconds = timed(check)
        rankings = {"audit": found, **others(collection, entry, kind, seed, groups)}
    finally:
        say(collection, kind, ids[places], true[places].tolist())
    flips = set(ids[places].tolist())
    figures = {name: precision(ranking, flips) for name, ranking in rankings.items()}
    print(f"  {seconds:.0f} s, {figures}", file=sys.stderr)
    return {"how": how, "seed": seed, "audit_s": round(seconds, 1), "precision": figures}


def other_label(how: str, place: int, rows: np.ndarray, true: np.ndarray, draw: np.random.Generator) -> str:
    """A label that the work does not have."""
    different = np.flatnonzero(true != true[place])
    if how == "random":
        return str(draw.choice(np.unique(true[different])))
    return str(true[different[(rows[different] @ rows[place]).argmax()]])


def say(collection: Collection, kind: str, ids: np.ndarray, labels: Sequence[str]) -> None:
    """Gives works a person's label, which outranks the source's."""
    with collection.writer() as writer:
        writer.set_human_labels(kind, list(zip(ids.tolist(), map(str, labels), strict=True)))


def others(
    collection: Collection, entry: EncoderEntry, kind: str, seed: int, groups: Groups
) -> dict[str, list[int]]:  # fmt: skip
    """Ids of all works, the most suspicious first, by each of the other ways."""
    works = load(collection, kind, entry, split="none", groups=groups)
    names, codes = np.unique(works.values, return_inverse=True)
    fold = folds(codes, works.groups, audit_labels.FOLDS, seed)
    shares = audit_labels.by_head(works.rows, codes, fold, len(names))
    own = shares[np.arange(len(codes)), codes]
    rest = shares.copy()
    rest[np.arange(len(codes)), codes] = -1.0
    scores = {"head_probability": -own, "head_margin": rest.max(axis=1) - own}
    scores["isolation_forest"] = np.nan_to_num(anomalies(works.rows, codes, seed=seed), nan=-1.0)
    ranked = {name: works.ids[np.argsort(-score, kind="stable")].tolist() for name, score in scores.items()}
    return ranked | {f"cleanlab_{how}": works.ids[order].tolist() for how, order in cleanlab(codes, shares).items()}


def cleanlab(codes: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """Places of the issues that cleanlab finds with the head's probabilities, by its default and its best filter."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return {}
    return {
        how: find_label_issues(codes, shares, filter_by=how, return_indices_ranked_by="self_confidence", n_jobs=1)
        for how in ("prune_by_noise_rate", "prune_by_class", "low_normalized_margin")
    }


def cleanlab_version() -> str | None:
    """The version of cleanlab that was compared with, or None."""
    try:
        return version("cleanlab")
    except PackageNotFoundError:
        return None


def precision(ranking: Sequence[int], flips: set[int]) -> dict[str, float]:
    """Share of flips among the first 50, N/2, N and 2N of a ranking, N being the number of flips."""
    n = len(flips)
    firsts = {"at_50": 50, "at_half_n": n // 2, "at_n": n, "at_2n": 2 * n}
    return {name: round(sum(id in flips for id in ranking[:k]) / k, 4) for name, k in firsts.items()}


def means(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean over the seeds, by how labels were flipped; chance is the share that was."""
    out: dict[str, Any] = {}
    for how in dict.fromkeys(one["how"] for one in runs):
        same = [one["precision"] for one in runs if one["how"] == how]
        out[how] = {
            method: {at: round(float(np.mean([one[method][at] for one in same])), 4) for at in same[0][method]}
            for method in same[0]
        } | {"chance": dict.fromkeys(same[0]["audit"], SHARE)}
    return out


if __name__ == "__main__":
    main()
