"""The frozen records that travel between the rooms. They know nothing of databases, models or terminals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

LABEL_ORIGINS = ("human", "source", "predicted")
"""Where a label came from, the most trusted first."""

METADATA = (
    "title", "date", "begin_year", "end_year", "medium", "classification", "credit_line", "rights", "source_url",
    "iiif_url",
)  # fmt: skip
"""Descriptive columns of an artwork, in the order in which they are shown and exported."""

LABEL_COLUMNS = ("artist", "style", "genre")
"""Kinds of label that read like columns of an artwork, in a table, in an export and in ``--where``."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become an encoder's input: the resize rule is part of what an embedding means."""

    size: int
    """Side of the square input, in pixels."""
    resize: str = "squash"
    """``squash`` stretches to the square, ``crop`` takes the centre, ``pad`` adds bars of the mean colour."""
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from the channels after they were scaled to 0..1."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"size": self.size, "resize": self.resize, "interpolation": self.interpolation,
                "mean": list(self.mean), "std": list(self.std)}  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_dict`."""
        mean, std = ((float(v[0]), float(v[1]), float(v[2])) for v in (values["mean"], values["std"]))
        return cls(int(values["size"]), str(values["resize"]), str(values["interpolation"]), mean, std)


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Which encoder made an embedding. Two embeddings are comparable if and only if these are equal."""

    name: str
    revision: str
    digest: str
    """Hexadecimal SHA-256 of the weights, or of the algorithm's name and version where there are none."""
    dim: int
    preprocessing: Preprocessing

    def __str__(self) -> str:
        return f"{self.name}@{self.revision} ({self.dim} numbers, digest {self.digest[:8]})"


@dataclass(frozen=True, slots=True)
class Label:
    """One thing said of an artwork, and who said it."""

    kind: str
    """``style``, ``genre``, ``artist`` or any other."""
    value: str
    origin: str = "source"
    """One of :data:`LABEL_ORIGINS`."""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Artwork:
    """One record of the collection. Its identity is `source` and `source_id`; two may share one photograph."""

    source: str
    """Name of the source, such as ``folder:/home/ada/pictures``."""
    source_id: str
    """What the source calls it; for a folder its path below it, with forward slashes."""
    id: int = 0
    """Number in the collection; 0 until it is stored. Never used again after a removal."""
    path: str | None = None
    """Absolute path of the image."""
    width: int | None = None
    """Upright width in pixels."""
    height: int | None = None
    title: str | None = None
    date: str | None = None
    begin_year: int | None = None
    end_year: int | None = None
    medium: str | None = None
    classification: str | None = None
    credit_line: str | None = None
    rights: str | None = None
    source_url: str | None = None
    iiif_url: str | None = None
    labels: tuple[Label, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    """Attributes that the source has and the catalog has no column for."""

    def label(self, kind: str) -> str | None:
        """The most trusted label of `kind` that was said of the work: a person's before the source's.

        A prediction is not said of it: see :meth:`resembles`.
        """
        found = [v for v in self.labels if v.kind == kind and v.origin != "predicted"]
        if not found:
            return None
        return min(found, key=lambda v: (LABEL_ORIGINS.index(v.origin), -(v.confidence or 0.0), v.value)).value

    def resembles(self, kind: str) -> Label | None:
        """The likeliest prediction of `kind`, where neither a person nor the source has said anything."""
        found = [v for v in self.labels if v.kind == kind and v.origin == "predicted"]
        if not found or self.label(kind) is not None:
            return None
        return min(found, key=lambda v: (-(v.confidence or 0.0), v.value))

    @property
    def artist(self) -> str | None:
        """The artist that was said of the work, by the most trusted voice."""
        return self.label("artist")

    @property
    def style(self) -> str | None:
        """The style that was said of the work, by the most trusted voice."""
        return self.label("style")

    @property
    def genre(self) -> str | None:
        """The genre that was said of the work, by the most trusted voice."""
        return self.label("genre")

    @property
    def name(self) -> str:
        """The title, or the file's name where there is none."""
        return self.title or Path(self.source_id).name

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in reading order; what is unknown is left out. Predictions stand under `resembles`."""
        out: dict[str, Any] = {"id": self.id, "title": self.title}
        out |= {kind: self.label(kind) for kind in LABEL_COLUMNS}
        out |= {v.kind: self.label(v.kind) for v in self.labels if v.kind not in out}
        predicted = [v for kind in dict.fromkeys(v.kind for v in self.labels) if (v := self.resembles(kind))]
        out |= {name: getattr(self, name) for name in METADATA[1:]}
        out |= {"path": self.path, "width": self.width, "height": self.height}
        out |= {"source": self.source, "source_id": self.source_id}
        out["extra"] = dict(self.extra) or None
        out["resembles"] = {v.kind: {"value": v.value, "probability": v.confidence} for v in predicted} or None
        return {key: value for key, value in out.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Share:
    """What one encoder contributes to a blend."""

    weight: float
    """Its share of the blend; those of all encoders sum to 1."""
    cosine: float
    normalised: float
    """The cosine less the mean over the works, in standard deviations of this query's cosines."""

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"weight": round(self.weight, 6), "cosine": self.cosine, "normalised": self.normalised}


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a query."""

    rank: int
    """1 is the nearest."""
    score: float
    """On the `scale`, six decimals; higher is nearer."""
    percentile: float | None
    """Share of random pairs of this collection, in per cent, that score lower; None where pairs say nothing of it."""
    artwork: Artwork
    scale: str = "cosine"
    """``cosine`` of query and artwork, -1 to 1; ``blend``, the weighted mix of normalised cosines; ``bm25``, how well
    the words fit those of the catalog; ``rrf``, reciprocal ranks of two searches, summed."""
    blend: Mapping[str, Share] = field(default_factory=dict)
    """Of a blend: what each encoder contributes, by its name."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Of a fused search: the work's rank among ``pictures`` and among ``metadata``, where it is in it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: rank, score, percentile, what the score is made of, then the artwork's."""
        said: dict[str, Any] = {"rank": self.rank, "score": self.score, "percentile": self.percentile}
        if self.scale != "cosine":
            said["scale"] = self.scale
        if self.blend:
            said["blend"] = {name: share.to_dict() for name, share in self.blend.items()}
        if self.ranks:
            said["ranks"] = dict(self.ranks)
        return said | self.artwork.to_dict()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an image resembles, for one kind of label, and the evidence."""

    kind: str
    value: str
    share: float
    """By neighbours: the share of their votes. By a head: its calibrated probability. By words alone: the softmax over
    the labels that were named, which nobody has calibrated. 0 to 1."""
    votes: int = 0
    of: int = 0
    """Number of neighbours that voted; 0 where a head or words answered."""
    neighbours: tuple[Hit, ...] = ()
    """Works that carry this value, the nearest first; where the answer is unsure, the nearest labelled works."""
    by: str = "neighbours"
    """``neighbours``, ``zero-shot``, or the head that answered; ``art/style`` is one that came with the encoder."""
    sure: bool = True
    """False where the likeliest value's probability is below the threshold: then no value is an answer."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; neighbours as id, score, title and their own label."""
        evidence = [
            {"id": h.artwork.id, "score": h.score, "title": h.artwork.name, self.kind: h.artwork.label(self.kind)}
            for h in self.neighbours
        ]
        said: dict[str, Any] = {"kind": self.kind, "value": self.value}
        if self.by == "neighbours":
            said |= {"share": self.share, "votes": self.votes, "of": self.of, "by": "neighbours"}
        elif self.by == "zero-shot":
            said |= {"probability": self.share, "sure": self.sure, "by": "zero-shot"}
        else:
            said |= {"probability": self.share, "sure": self.sure, "by": "head", "head": self.by}
        return said | {"neighbours": evidence}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> list[float]:
        """Value, low and high, to four decimals, for JSON."""
        return [round(self.value, 4), round(self.low, 4), round(self.high, 4)]


@dataclass(frozen=True, slots=True)
class Failure:
    """One file that gave no embedding, and why."""

    source: str
    source_id: str
    reason: str
    message: str
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of `index` did with one encoder, in numbers of artworks."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    """Failed files by reason."""
    embedded: int = 0
    """Images that went through the encoder; fewer than added and changed where bytes were known already."""
    described: int = 0
    """Artworks whose metadata was read again from the table beside the images."""
    absent: int = 0
    """Rows of a table that name images which are not there."""
    skipped: int = 0
    """Files that are not images by their name."""
    unreachable: tuple[str, ...] = ()
    """Sources that could not be read this time; their artworks stay."""
    seconds: float = 0.0
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    """Sentences about what was left aside in the table beside the images."""
    encoder: str = ""
    """Name of the encoder that the images went through."""
    followed_by: tuple[IndexReport, ...] = ()
    """The same of further encoders, in their order."""

    @property
    def failures(self) -> int:
        """How many files failed, whatever the reason."""
        return sum(self.failed.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        return out | {"failed": dict(self.failed), "unreachable": list(self.unreachable), "notes": list(self.notes),
                      "followed_by": [report.to_dict() for report in self.followed_by]}  # fmt: skip
