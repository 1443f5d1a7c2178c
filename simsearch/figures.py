"""What an evaluation measured: frozen records that `classifier` fills and `show` draws.

Shares are 0 to 1. Every figure that samples works carries its interval (`records.Estimate`). Classes stand by name, and
matrices and lists of classes are in the order of `classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simsearch.records import Artwork, EncoderInfo, Estimate, Hit

METHOD_FIGURES = (
    "top1", "top5", "macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall",
    "weighted_f1",
)  # fmt: skip
"""Figures of a method, in the order in which they are shown; a method without probabilities has no ``top5``."""

REASONS = ("label", "outlier", "duplicate")
"""Why an audit asks for a second look: another label is likelier, a work is unlike its class, or one picture has two
labels."""

REVIEW_COLUMNS = (
    "id", "source", "source_id", "title", "artist", "kind", "reason", "value", "suggestion", "probability", "score",
    "accept", "correction",
)  # fmt: skip
"""Columns of a review sheet; the last two are for a person to fill in.

``accept`` = yes takes the suggestion, and a text in ``correction`` goes before it; ``accept`` = no or empty, with no
correction, changes nothing.
"""


@dataclass(frozen=True, slots=True)
class Method:
    """How well one way of naming a label does on the works that were held out."""

    name: str
    """The head's name, ``zero-shot``, ``nearest work``, ``10 nearest works``, ``majority`` or ``chance``."""
    figures: Mapping[str, Estimate]
    """By the names of :data:`METHOD_FIGURES`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name} | {name: figure.to_dict() for name, figure in self.figures.items()}


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How well a head does on one class."""

    name: str
    support: int
    """Held-out works of the class."""
    trained: int
    """Works of the class that the head was trained on."""
    precision: float
    recall: float
    f1: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"class": self.name, "support": self.support, "trained": self.trained,
                "precision": round(self.precision, 4), "recall": round(self.recall, 4),
                "f1": round(self.f1, 4)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether probabilities mean what they say: works binned by the probability of the answer."""

    edges: tuple[float, ...]
    """Edges of the bins, one more than bins."""
    confidence: tuple[float, ...]
    """Mean probability in each bin; 0 where it is empty."""
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Similarity as retrieval: held-out works ask, labelled train works answer, the same label is relevant."""

    same_artist: bool
    """Whether works by the query's own artist were among the answers."""
    queries: int
    without_relevant: int
    """Queries left out because no work of their label could be found."""
    p1: Estimate
    p10: Estimate
    map: Estimate
    """Mean average precision over the whole ranking."""
    recall: Mapping[int, Estimate]
    """Recall at k by k."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "same_artist": self.same_artist,
            "queries": self.queries,
            "without_relevant": self.without_relevant,
            "p_at_1": self.p1.to_dict(),
            "p_at_10": self.p10.to_dict(),
            "map": self.map.to_dict(),
            "recall_at": {str(k): figure.to_dict() for k, figure in self.recall.items()},
        }


@dataclass(frozen=True, slots=True)
class Confused:
    """Two classes that a head takes for each other, with works that show it."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the held-out works of the true class."""
    examples: tuple[tuple[Artwork, float], ...] = ()
    """Works of the true class taken for the other, with the probability of that, the surest first."""
    typical: tuple[Artwork, ...] = ()
    """Works of the predicted class to hold them against, the most typical first; empty where none were looked up."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; examples by id."""
        return {"true": self.true, "predicted": self.predicted, "count": self.count, "share": round(self.share, 4),
                "examples": [{"id": work.id, "probability": round(p, 4)} for work, p in self.examples]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeadFigures:
    """What only a head has: probabilities, and so a confusion matrix by name, calibration and abstention."""

    name: str
    classes: tuple[str, ...]
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Held-out works: rows are the true class, columns the predicted one."""
    confused: tuple[Confused, ...]
    """The worst pairs first."""
    ece: Estimate
    """Expected calibration error (Guo et al. 2017)."""
    brier: Estimate
    """Multi-class Brier score, 0 to 2."""
    reliability: Reliability
    coverage: tuple[tuple[float, float], ...]
    """(share answered, accuracy among them) as the threshold falls from 1 to 0."""
    threshold: float
    answered: Estimate
    """Share of works whose answer is at least as sure as the threshold."""
    accuracy_answered: Estimate
    card: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "per_class": [row.to_dict() for row in self.per_class],
            "confusion": [list(row) for row in self.confusion],
            "confused": [pair.to_dict() for pair in self.confused],
            "ece": self.ece.to_dict(),
            "brier": self.brier.to_dict(),
            "reliability": {
                name: list(getattr(self.reliability, name)) for name in ("edges", "confidence", "accuracy", "count")
            },
            "coverage_accuracy": [[round(c, 4), round(a, 4)] for c, a in self.coverage],
            "threshold": self.threshold,
            "answered": self.answered.to_dict(),
            "accuracy_answered": self.accuracy_answered.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a head and its encoder know of one kind of label, measured on works that were held out."""

    kind: str
    encoder: EncoderInfo
    split: str
    """The part that was measured on, such as ``val``."""
    works: int
    """Works measured on."""
    gallery: int
    """Works that answered: the neighbours and the head come from these."""
    artists: int
    """Artists among the works measured on; 0 where none is known."""
    left_out: Mapping[str, int]
    """Works of the part that were not measured on, by reason in words."""
    methods: tuple[Method, ...]
    head: HeadFigures | None
    """None where no head of this kind was trained: then neighbours and retrieval alone are measured."""
    retrieval: tuple[Retrieval, ...]
    """With works by the query's artist, then without."""
    seed: int
    resamples: int
    seconds: float = 0.0
    zero_shot: ZeroShotFigures | None = None
    """How labels were named by words alone, where that was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "encoder": str(self.encoder),
            "split": self.split,
            "works": self.works,
            "gallery": self.gallery,
            "artists": self.artists,
            "left_out": dict(self.left_out),
            "methods": [method.to_dict() for method in self.methods],
            "head": self.head.to_dict() if self.head else None,
            "zero_shot": self.zero_shot.to_dict() if self.zero_shot else None,
            "retrieval": [figures.to_dict() for figures in self.retrieval],
            "seed": self.seed,
            "resamples": self.resamples,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two heads or encoders on the same works."""

    name: str
    a: Estimate
    b: Estimate
    difference: Estimate
    """b less a, by paired bootstrap."""
    p: float
    """Two-sided: McNemar's test for top-1, the paired bootstrap's for the others."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"figure": self.name, "a": self.a.to_dict(), "b": self.b.to_dict(),
                "difference": self.difference.to_dict(), "p": self.p}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two heads or encoders side by side, on the works that were held out from both."""

    kind: str
    a: str
    b: str
    split: str
    works: int
    only_a: int | None
    """Works that a alone names rightly; None where no heads were compared."""
    only_b: int | None
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, "a": self.a, "b": self.b, "split": self.split, "works": self.works,
                "only_a": self.only_a, "only_b": self.only_b,
                "differences": [row.to_dict() for row in self.differences]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ZeroShotFigures:
    """Labels that were named by words alone, and what was better: these or the head."""

    encoder: EncoderInfo
    """What read the words, and the works."""
    labels: tuple[str, ...]
    """What was chosen among."""
    templates: tuple[str, ...]
    """Sentences with ``{}`` for the label; the mean of their embeddings stands for it."""
    scale: float
    """What cosines were multiplied by before the softmax."""
    unnamed: int
    """Works measured on whose own label is not among those; zero-shot cannot be right for them."""
    against_head: Comparison | None
    """a is the head, b zero-shot, on the same works; None where no head was measured."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"encoder": str(self.encoder), "labels": list(self.labels), "templates": list(self.templates),
                "scale": self.scale, "unnamed": self.unnamed,
                "against_head": self.against_head.to_dict() if self.against_head else None}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One label that an audit asks a person to look at again, and why."""

    reason: str
    """One of :data:`REASONS`."""
    artwork: Artwork
    kind: str
    value: str | None
    """The present label."""
    suggestion: str | None
    """The label that the work seems to carry; None where only something is wrong."""
    score: float
    """0 to 1; higher is more suspicious. Comparable among findings of one reason only."""
    probability: float | None
    """Of the suggestion, by a head that never saw the work, and the votes of its neighbours."""
    own_probability: float | None
    """Of the present label, by the same."""
    evidence: tuple[Hit, ...] = ()
    """The nearest works that carry the suggestion, or the duplicates of the work."""
    note: str = ""
    """One sentence more, where there is something to say."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; evidence as id, score, title and label."""
        return {
            "id": self.artwork.id,
            "title": self.artwork.name,
            "artist": self.artwork.artist,
            "kind": self.kind,
            "reason": self.reason,
            "value": self.value,
            "suggestion": self.suggestion,
            "score": round(self.score, 4),
            "probability": None if self.probability is None else round(self.probability, 4),
            "own_probability": None if self.own_probability is None else round(self.own_probability, 4),
            "evidence": [
                {"id": h.artwork.id, "score": h.score, "title": h.artwork.name, self.kind: h.artwork.label(self.kind)}
                for h in self.evidence
            ],
            "note": self.note,
        }

    def to_row(self) -> dict[str, str]:
        """One line of a review sheet, by :data:`REVIEW_COLUMNS`; what a person fills in is empty."""
        work = self.artwork
        return {
            "id": str(work.id),
            "source": work.source,
            "source_id": work.source_id,
            "title": work.title or "",
            "artist": work.artist or "",
            "kind": self.kind,
            "reason": self.reason,
            "value": self.value or "",
            "suggestion": self.suggestion or "",
            "probability": "" if self.probability is None else f"{self.probability:.4f}",
            "score": f"{self.score:.4f}",
            "accept": "",
            "correction": "",
        }
