"""`simsearch train`: from labels in the catalog to a head that knows how good it is.

Works are divided into train and held out first; what is held out chooses nothing, and measures the head once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from simsearch.catalog.labelled import image_keys
from simsearch.classifier import intervals
from simsearch.classifier.groups import NEAR_DUPLICATE, Groups, near_duplicates
from simsearch.classifier.head import Head, check_name, check_place, folder_of, save
from simsearch.classifier.labelled import Labelled, artists_of, check_kind, load, unlabelled
from simsearch.classifier.learn import Spare, codes, learn, macro_f1
from simsearch.classifier.prepare import (
    ClassChoices,
    SplitChoices,
    divide,
    drawn_together,
    has_official,
    trainable,
    with_classes,
)
from simsearch.collection import Collection, EncoderEntry
from simsearch.errors import LabelError, QueryError
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

THRESHOLD = 0.5
"""Below it an answer is likelier wrong than right, as far as the probability is calibrated."""
BALANCES = ("none", "weights", "sampling")


@dataclass(frozen=True, slots=True)
class Choices:
    """How to train; all of it is written into the head's card."""

    where: str | None = None
    split_by: str = "auto"
    """Attribute with the published split, ``auto``, or ``none``."""
    classes: ClassChoices = field(default_factory=ClassChoices)
    split: SplitChoices = field(default_factory=SplitChoices)
    near_duplicate: float = NEAR_DUPLICATE
    balance: str = "none"
    pseudo_label: float | None = None
    """Probability from which predictions for unlabelled works are trained on; None leaves those works aside."""
    threshold: float = THRESHOLD

    def check(self) -> None:
        """Raises QueryError for a choice that makes no sense."""
        if self.balance not in BALANCES:
            raise QueryError(f"balance is {self.balance!r}; there are {', '.join(BALANCES)}")
        if not 0 < self.split.share < 1:
            raise QueryError(f"the held-out share is {self.split.share}; it lies between 0 and 1")
        if self.split.group_by not in (None, "artist"):
            raise QueryError(f"works can be grouped by artist, not by {self.split.group_by!r}")
        if self.split.seed < 0:
            raise QueryError(f"the seed is {self.split.seed}; it is 0 or more")
        for name, value in (("threshold", self.threshold), ("pseudo_label", self.pseudo_label)):
            if value is not None and not 0 <= value <= 1:
                raise QueryError(f"{name} is {value}; a probability lies between 0 and 1")


def train(
    collection: Collection,
    kind: str,
    *,
    name: str | None = None,
    encoder: str | None = None,
    choices: Choices | None = None,
    groups: Groups | None = None,
    watch: Watch = silent,
) -> Head:
    """A head of this kind, trained on the collection's labels and saved in it under `name`, or else the kind's.

    `groups` are near-duplicates that were found before (:func:`groups_for`). Raises LabelError where the
    labels do not give two classes with works to train on and works to hold out; WhereError, EmbeddingError,
    CollectionWriteError.
    """
    choices = choices or Choices()
    choices.check()
    started = time.perf_counter()
    entry = collection.encoder_entry(encoder)
    folder = folder_of(collection, entry.info)
    check_name(name or kind)
    groups = groups or groups_for(collection, [kind], choices, watch)
    found = load(collection, kind, entry, where=choices.where, split=choices.split_by, groups=groups)
    _check_split(found, choices)
    chosen, left_out = with_classes(found, choices.classes)
    learning, held, classes, divided = _divided(chosen, choices)
    spare = _spare(collection, entry, kind, choices, groups, held) if choices.pseudo_label is not None else None
    check_place(folder)
    learned = learn(learning, classes, choices, spare, held, watch)
    card = {
        "works": {"trained_on": len(learning), "held_out": len(held), "left_out": left_out | divided,
                  "of_class": _per_class(learning)},
        "split": _split(chosen, choices),
        "choices": _said(choices),
        "fit": {"C": learned.C, "tried": [[c, round(loss, 4)] for c, loss in learned.tried],
                "library": f"scikit-learn {version('scikit-learn')}"},
        "pseudo_labels": learned.gain.to_dict() if learned.gain else None,
        "held_out_figures": figures(learned.probabilities(held.rows), learning, held, classes, choices.split),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "simsearch": version("simsearch"),
        "seconds": round(time.perf_counter() - started, 2),
    }  # fmt: skip
    taught = image_keys(collection.catalog, learned.taught)
    head = Head(
        name or kind, kind, entry.info, classes, learned.weights, learned.bias, learned.temperature, choices.threshold,
        trained_on=np.union1d(learning.images, taught), held_out=np.unique(held.images), card=card,
    )  # fmt: skip
    save(folder, head)
    return head


def groups_for(collection: Collection, kinds: Sequence[str], choices: Choices, watch: Watch = silent) -> Groups:
    """Near-duplicates among the works that heads of these kinds learn from, found once for all of them."""
    catalog = collection.catalog
    for kind in kinds:
        check_kind(catalog, kind)
        if kind == "artist" and choices.split.group_by == "artist":
            raise LabelError(
                "artists cannot be learned where whole artists are held out; leave --group-by away for --label artist"
            )
    if choices.pseudo_label is not None:
        ids = catalog.ids_where()
    else:
        ids = np.unique(np.concatenate([catalog.labelled_ids(kind) for kind in kinds]))
    return near_duplicates(collection, ids, choices.near_duplicate, watch)


def figures(
    probabilities: Rows, learning: Labelled, held: Labelled, classes: Sequence[str], split: SplitChoices
) -> dict[str, Any]:
    """Top-1 and macro F1 on works that were held out, with intervals, beside always the commonest class and chance.

    They are those that `evaluate` finds with the same seed.
    """
    true, guess = codes(held.values, classes), probabilities.argmax(axis=1)
    most = np.bincount(codes(learning.values, classes)).argmax()
    draws: dict[str, Any] = {"groups": drawn_together(held, split.group_by), "seed": split.seed}
    top1 = intervals.estimate_mean(guess == true, **draws)
    f1 = intervals.estimate_confusion({"macro_f1": macro_f1}, true, guess, len(classes), **draws)["macro_f1"]
    return {"top1": top1.to_dict(), "macro_f1": f1.to_dict(), "majority": round(float((true == most).mean()), 4),
            "chance": round(1 / len(classes), 4)}  # fmt: skip


def _check_split(found: Labelled, choices: Choices) -> None:
    """Raises LabelError where works cannot be divided as was asked."""
    if choices.split.group_by == "artist" and not (found.artists != "").any():
        raise LabelError(f"no work with a label {found.kind!r} has an artist; leave --group-by away, or name artists")
    if choices.split_by in ("auto", "none") or choices.split.group_by is not None or has_official(found):
        return
    has = ", ".join(sorted(set(found.parts.tolist()) - {""})[:5])
    raise LabelError(
        f"the attribute {choices.split_by!r} holds {has or 'nothing'}; a split says train and val (or test) of works "
        f"with a label {found.kind!r}; leave --split-by away, or name another attribute"
    )


def _divided(chosen: Labelled, choices: Choices) -> tuple[Labelled, Labelled, tuple[str, ...], dict[str, int]]:
    """(works to learn from, works held out, classes by name, works left out by reason)."""
    train_mask, val_mask, left_out = divide(chosen, choices.split)
    train_mask, classes, few = trainable(chosen, train_mask, choices.classes, choices.split.seed)
    known = val_mask & np.isin(chosen.values, classes)
    if (val_mask & ~known).any():
        few |= {"held out, of classes that are not trained": int((val_mask & ~known).sum())}
    val_mask = known
    if not val_mask.any():
        raise LabelError(
            f"no work with a label {chosen.kind!r} can be held out beside the {int(train_mask.sum())} to train on; "
            + ("label more works" if has_official(chosen) else "label more works, or raise --held-out")
        )
    return chosen.take(train_mask), chosen.take(val_mask), classes, left_out | few


def _spare(
    collection: Collection, entry: EncoderEntry, kind: str, choices: Choices, groups: Groups, held: Labelled
) -> Spare:
    """Works without such a label, apart from those that are held out."""
    rows, ids = unlabelled(collection, kind, entry, choices.where)
    spare = Spare(rows, ids, groups.of(ids), artists_of(collection.catalog, ids))
    return spare.apart_from(held, choices.split.group_by)


def _per_class(learning: Labelled) -> dict[str, int]:
    names, counts = np.unique(learning.values, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _split(chosen: Labelled, choices: Choices) -> dict[str, Any]:
    official = has_official(chosen) and choices.split.official and choices.split.group_by is None
    said: dict[str, Any] = {"official": official, "near_duplicate": choices.near_duplicate}
    if official:
        return said | {"by": choices.split_by}
    return said | {"share": choices.split.share, "seed": choices.split.seed, "group_by": choices.split.group_by}


def _said(choices: Choices) -> dict[str, Any]:
    """The choices as plain values, each at one level."""
    said = asdict(choices)
    for inner in ("classes", "split"):
        said |= said.pop(inner)
    return said | {"merge": dict(choices.classes.merge), "drop": list(choices.classes.drop)}
