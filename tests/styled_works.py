"""What the tests of evaluation share: made-up works with styles, every fifth of which is held out."""

import numpy as np
from labelled_works import clusters, fill

STYLES = ("Dawn", "Ember", "Flint", "Gale", "Hush", "Iron", "Jade")
WORKS = 700
RESAMPLES = 200


def parts(n):
    return ["val" if i % 5 == 4 else "train" for i in range(n)]


def make(folder, values=None, *, noise=3.2, artists=None, **more):
    """A collection of works with styles; every fifth is held out."""
    random = np.random.default_rng(1)
    if values is None:
        # classes of different sizes, so that macro and weighted figures differ
        values = random.choice(STYLES, WORKS, p=np.arange(3, 10) / 42).tolist()
    labels = {"style": more.pop("labels", values)}
    if artists is not None:
        labels["artist"] = artists
    rows = more.pop("rows", None)
    rows = clusters(values, noise=noise, seed=3) if rows is None else rows
    return fill(folder, rows, labels, extra={"split": parts(len(values))}, **more)


def figure(evaluation, method, name):
    return next(m for m in evaluation.methods if m.name == method).figures[name].value
