"""What a head learns from and what it is measured on: classes chosen, and works divided without a leak."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simsearch.catalog.catalog import Ids
from simsearch.catalog.labelled import Strings
from simsearch.classifier.groups import connected
from simsearch.classifier.labelled import Labelled
from simsearch.classifier.split import Mask, part
from simsearch.errors import LabelError, SourceError

if TYPE_CHECKING:
    from simsearch.classifier.head import Head

TRAIN, VAL = "train", "val"
SPLIT_NAMES = {"test": VAL, "validation": VAL, "valid": VAL, "training": TRAIN}
"""Other words for the two parts, as published splits have them."""
WITH_NEAR_DUPLICATE = "with a near-duplicate among those held out"


@dataclass(frozen=True, slots=True)
class ClassChoices:
    """Which classes there are."""

    merge: Mapping[str, str] = field(default_factory=dict)
    """Label to the class that it counts as; to an empty text where it is dropped."""
    drop: Sequence[str] = ()
    """Labels that are left out."""
    min_images: int = 2
    """Classes with fewer train works are left out."""
    cap: int | None = None
    """At most so many train works of a class, drawn by the seed."""


@dataclass(frozen=True, slots=True)
class SplitChoices:
    """How works are held out."""

    official: bool = True
    """Keeps the published split where the works have one."""
    share: float = 0.2
    """Share of the works that is held out where there is none."""
    group_by: str | None = None
    """``artist`` holds whole artists out; that needs a split of its own."""
    seed: int = 0


def read_mapping(path: Path) -> dict[str, str]:
    """Label to class from a CSV with columns `from` and `to`; an empty `to` drops the label. Raises SourceError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in ("from", "to") if name not in (rows.fieldnames or [])]
            if missing:
                has = ", ".join(rows.fieldnames or []) or "none"
                raise SourceError(
                    f"{path} has no column {missing[0]!r}; a mapping has columns from and to, this has {has}"
                )
            return {row["from"].strip(): (row["to"] or "").strip() for row in rows if (row["from"] or "").strip()}
    except csv.Error as error:
        raise SourceError(f"{path} is no table that can be read ({error}); save it as CSV") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error


def with_classes(labelled: Labelled, choices: ClassChoices) -> tuple[Labelled, dict[str, int]]:
    """(the works under the chosen classes, works left out by reason). Raises LabelError for labels that no work has."""
    there = set(labelled.values.tolist())
    for name in (*choices.merge, *choices.drop):
        if name not in there:
            raise LabelError(_unknown(name, labelled.kind, there))
    gone = set(choices.drop) | {name for name, to in choices.merge.items() if not to}
    keep = ~np.isin(labelled.values, sorted(gone))
    kept = labelled.take(keep)
    return kept.labelled(merged(kept.values, choices.merge)), _counts(
        {"of classes that were dropped": int((~keep).sum())}
    )


def merged(values: Strings, merge: Mapping[str, str]) -> Strings:
    """Labels (n,) under the classes that they count as."""
    return np.array([merge.get(value, value) for value in values.tolist()], dtype=np.str_) if merge else values


def divide(labelled: Labelled, choices: SplitChoices) -> tuple[Mask, Mask, dict[str, int]]:
    """(works to train on, works held out, works left out by reason): no near-duplicates on both sides.

    The published split is kept where the works have one, unless whole artists are to be held out; a train work that is
    a near-duplicate of one that is held out is left out. Works by an unknown artist are, too, where artists are whole.
    """
    if has_official(labelled) and choices.official and choices.group_by is None:
        names = np.array([SPLIT_NAMES.get(name, name) for name in labelled.parts.tolist()])
        train, val = names == TRAIN, names == VAL
        near = train & np.isin(labelled.groups, labelled.groups[val])
        other = int((~train & ~val).sum())
        left_out = {WITH_NEAR_DUPLICATE: int(near.sum()), "in no part of the published split": other}
        return train & ~near, val, _counts(left_out)
    groups, left_out = labelled.groups, {}
    known = np.ones(len(labelled), bool)
    if choices.group_by == "artist":
        known = labelled.artists != ""
        left_out["by an unknown artist"] = int((~known).sum())
        groups = together(labelled.groups, labelled.artists)
    val = np.zeros(len(labelled), bool)
    val[known] = part(labelled.values[known], groups[known], choices.share, choices.seed)
    return known & ~val, val, _counts(left_out)


def has_official(labelled: Labelled) -> bool:
    """Whether the works carry a published split: some to train on, some held out."""
    names = {SPLIT_NAMES.get(name, name) for name in np.unique(labelled.parts).tolist()}
    return {TRAIN, VAL} <= names


def trainable(
    labelled: Labelled, train: Mask, choices: ClassChoices, seed: int
) -> tuple[Mask, tuple[str, ...], dict[str, int]]:
    """(works to train on, classes by name, works left out by reason) after the least number and the cap of a class.

    Raises LabelError where fewer than two classes are left.
    """
    names, counts = np.unique(labelled.values[train], return_counts=True)
    least = max(choices.min_images, 2)
    classes = tuple(names[counts >= least].tolist())
    if len(classes) < 2:
        raise LabelError(_too_few(labelled, len(classes), least))
    enough = train & np.isin(labelled.values, classes)
    left_out = {f"of classes with fewer than {least} works to train on": int((train & ~enough).sum())}
    if choices.cap is not None:
        kept = capped(labelled.values, enough, choices.cap, seed)
        left_out[f"beyond {choices.cap} of a class"] = int((enough & ~kept).sum())
        enough = kept
    return enough, classes, _counts(left_out)


def capped(values: np.ndarray, which: Mask, cap: int, seed: int) -> Mask:
    """At most `cap` works of each class among those of a mask, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(which))
    order = order[np.argsort(values[order], kind="stable")]
    _, start, counts = np.unique(values[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, counts)
    out = np.zeros(len(values), bool)
    out[order[place < cap]] = True
    return out


def held_out(labelled: Labelled, head: Head, which: str = VAL) -> tuple[Labelled, Labelled, dict[str, int]]:
    """(works that the head was trained on, works to measure it on, works left out by reason).

    With a head of a published split the part of that name is measured on, with another head the works that were held
    out when it was trained. ``train`` measures on what it has seen. Works whose image, or a near-duplicate of it, the
    head has seen are left out, and so are labels that it has no class for. Raises LabelError where no work is left.
    """
    choices = head.card.get("choices", {})
    merge = choices.get("merge", {})
    seen = np.isin(labelled.images, head.trained_on)
    gallery = labelled.take(seen)
    gallery = gallery.labelled(merged(gallery.values, merge))
    if which == TRAIN:
        return gallery, gallery, {}
    if head.card.get("split", {}).get("official"):
        names = np.array([SPLIT_NAMES.get(name, name) for name in labelled.parts.tolist()], dtype=np.str_)
        asked = names == SPLIT_NAMES.get(which, which)
    elif which == VAL:
        asked = np.isin(labelled.images, head.held_out)
    else:
        asked = np.zeros(len(labelled), bool)
    near = asked & (seen | np.isin(labelled.groups, gallery.groups))
    measured = labelled.take(asked & ~near)
    measured = measured.labelled(merged(measured.values, merge))
    known = np.isin(measured.values, head.classes)
    if not known.any():
        raise LabelError(_no_part(labelled, head, which))
    left_out = {
        "that the head has seen, or near-duplicates of those": int(near.sum()),
        "of classes that the head does not know": int((~known).sum()),
    }
    return gallery, measured.take(known), _counts(left_out)


def drawn_together(labelled: Labelled, group_by: str | None) -> Ids:
    """The group (n,) of each work that a bootstrap draws whole: near-duplicates, and where whole artists were held out
    all works of an artist, so that an interval says how a figure varies over new artists. An unknown artist joins none.
    """
    if group_by != "artist":
        return labelled.groups
    return together(labelled.groups, np.where(labelled.artists == "", labelled.ids.astype(str), labelled.artists))


def together(groups: Ids, names: Strings) -> Ids:
    """Groups (n,) joined where two works share a group or a name; an empty name joins nothing."""
    places = np.arange(len(groups))
    pairs = []
    for column in (groups, names):
        _, code = np.unique(column, return_inverse=True)
        first = np.full(code.max(initial=0) + 1, len(groups))
        np.minimum.at(first, code, places)
        pairs.append(first[code])
    pairs[1] = np.where(names == "", places, pairs[1])
    return connected(np.concatenate([places, places]), np.concatenate(pairs), places)


def _counts(left_out: dict[str, int]) -> dict[str, int]:
    return {reason: n for reason, n in left_out.items() if n}


def _unknown(name: str, kind: str, there: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, there, n=1)
    return f"no work has the {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; check the spelling")


def _too_few(labelled: Labelled, enough: int, least: int) -> str:
    kind, names = labelled.kind, np.unique(labelled.values).tolist()
    if not names:
        return f"every class of {kind} is dropped; leave two or more to tell apart"
    if len(names) == 1:
        works = "one work" if len(labelled) == 1 else f"{len(labelled)} works"
        return f"{kind} has one class only ({names[0]!r}, {works}); a head needs two or more to tell apart"
    way = "label more works" if least == 2 else "label more works, or lower --min-images"
    return (
        f"of {len(names)} classes of {kind} {'only one has' if enough else 'none has'} {least} works to train on; {way}"
    )


def _no_part(labelled: Labelled, head: Head, which: str) -> str:
    parts = sorted({SPLIT_NAMES.get(name, name) for name in labelled.parts.tolist() if name})
    names = parts if head.card.get("split", {}).get("official") else [TRAIN, VAL]
    if which not in names:
        return f"no work belongs to the part {which!r}; there are {', '.join(names)}"
    return (
        f"no work of the part {which!r} is left to measure the head {head.name!r} on; its held-out works are gone from "
        f"this collection, or have no {labelled.kind} any more: run `simsearch train --label {labelled.kind}` again"
    )
