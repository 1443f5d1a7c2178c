"""Heads trained on made-up collections, for the tests of training."""

from dataclasses import fields
from pathlib import Path

import numpy as np
from labelled_works import fill
from sklearn import metrics as sk

from simsearch.catalog.labelled import image_keys
from simsearch.classifier.head import head_of
from simsearch.classifier.labelled import load
from simsearch.classifier.train import Choices, train

CLASSES = ("Dawn", "Ember", "Moss", "Tide")
PLAIN = Choices()


def values_of(n, classes=CLASSES):
    return [classes[i % len(classes)] for i in range(n)]


def trained(folder: Path, rows, labels, choices=PLAIN, *, kind="style", extra=None, images=None, predict=()):
    """(the head of a new collection, the key of each work's image by its id, the labelled works)."""
    collection, entry = fill(folder, rows, labels, extra=extra, images=images)
    with collection:
        if predict:
            with collection.writer() as writer:
                writer.store_predictions(kind, predict)
        head = train(collection, kind, choices=choices)
        assert same(head, head_of(collection, entry, kind)), "what was saved is what was given"
        ids = collection.catalog.ids_where()
        keys = dict(zip(ids.tolist(), image_keys(collection.catalog, ids).tolist(), strict=True))
        return head, keys, load(collection, kind, entry, split=choices.split_by)


def same(first, second):
    numbers = ("weights", "bias", "trained_on", "held_out")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in numbers) and all(
        getattr(first, f.name) == getattr(second, f.name) for f in fields(first) if f.name not in (*numbers, "card")
    )


def of(works, keys):
    """The works that show images of these keys."""
    return works.take(np.isin(works.images, keys))


def macro_f1(true, guess, classes):
    return sk.f1_score(true, guess, labels=sorted(set(true) & set(classes)), average="macro", zero_division=0)
