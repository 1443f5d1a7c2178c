"""Zero-shot labels: which of some labels an image resembles, by words alone, without a work that carries any of them.

Each label is put into several sentences, and the mean of their embeddings stands for it (a prompt ensemble). A label's
probability is the softmax over the labels of the cosine with the image times the scale that the encoder was trained
with (Radford et al. 2021, "Learning transferable visual models from natural language supervision", 3.1). It says which
of these labels fits best, not whether any does, and nobody has calibrated it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from simsearch import captions, images, vectors
from simsearch.classifier.metrics import Floats
from simsearch.collection import Collection
from simsearch.encoders.base import Encoder, TextEncoder
from simsearch.encoders.registry import load_encoder
from simsearch.errors import ArtworkNotFoundError, CollectionNotFoundError, EncoderError, QueryError
from simsearch.query import Image, ask, text_entry
from simsearch.records import Prediction
from simsearch.vectors import Rows
from simsearch.watch import Watch, silent

ZERO_SHOT = "zero-shot"
"""What answers by words alone are marked with."""
KIND = "label"
"""Kind of the answers where nobody said which kind of label it is."""
LOGIT_SCALE = 100.0
"""What cosines are multiplied by where the encoder does not say: CLIP's own, which its training may not exceed."""
TEXTS_AT_ONCE = 256
EXAMPLE = "clip:ViT-B-32/laion2b_s34b_b79k"


@dataclass(frozen=True, slots=True)
class Wording:
    """Labels to choose among, and the sentences to put them in. :meth:`of` checks what a person wrote."""

    labels: tuple[str, ...]
    kind: str = KIND
    """Kind of the labels, which says the sentences where `templates` is empty: see :data:`captions.TEMPLATES`."""
    templates: tuple[str, ...] = ()
    """Sentences with ``{}`` for the label."""

    @classmethod
    def of(cls, labels: Sequence[str], *, kind: str = KIND, templates: Sequence[str] = ()) -> Self:
        """What a person wrote, with the spaces around it taken away.

        Raises QueryError for fewer than two labels, an empty or doubled one, and a template without ``{}``.
        """
        return cls(checked_labels(labels), kind, checked_templates(templates))

    @property
    def sentences(self) -> tuple[str, ...]:
        """The templates that are filled in."""
        return self.templates or captions.templates_for(self.kind)


@dataclass(frozen=True, slots=True)
class Words:
    """Labels as directions in an encoder's space."""

    wording: Wording
    rows: Rows
    """Unit rows (labels, dim): of each label the mean of its sentences."""
    scale: float

    @property
    def labels(self) -> tuple[str, ...]:
        """What is chosen among, in the order of the rows."""
        return self.wording.labels

    def probabilities(self, rows: Rows) -> Floats:
        """Of each label (n, labels) for the unit embeddings (n, dim) of images by the same encoder; a row sums to 1."""
        logits = self.scale * vectors.scores(rows, self.rows).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)


class ZeroShotClassifier:
    """Labels that a person named, embedded once to name many images."""

    def __init__(
        self,
        labels: Sequence[str],
        *,
        templates: Sequence[str] = (),
        kind: str = KIND,
        collection: Collection | None = None,
        encoder: str | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        """`encoder` is one of the collection that reads words, by default the first; without a collection any encoder.

        `notice` gets the sentences of an encoder without a collection, such as that a text was cut. Raises QueryError
        for labels or templates that will not do, EncoderError, CollectionNotFoundError.
        """
        wording = Wording.of(labels, kind=kind, templates=templates)
        self.collection = collection
        if collection is not None:
            self._entry = text_entry(collection, encoder)
            self.encoder = collection.load(self._entry)
        else:
            self.encoder = _encoder_alone(encoder)
            if notice is not None and hasattr(self.encoder, "notice"):
                self.encoder.notice = notice
        self.words = embedded(self.encoder, wording)

    def classify(
        self,
        image: Image,
        *,
        top: int = 1,
        threshold: float | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
    ) -> list[Prediction]:
        """The `top` labels that the image resembles most, the likeliest first, of equal ones the first that was named.

        They are sure where the likeliest reaches `threshold`, and always without one. Raises ImageError, QueryError,
        EncoderError, EmbeddingError.
        """
        if top < 1:
            raise QueryError(f"top is {top}; it starts at 1")
        if threshold is not None and not 0 <= threshold <= 1:
            raise QueryError(f"the threshold is {threshold}; a probability lies between 0 and 1")
        shares = self.words.probabilities(self._row(image, max_pixels))[0]
        best = np.argsort(-shares, kind="stable")[:top].tolist()
        sure = threshold is None or bool(shares[best[0]] >= threshold)
        kind, labels = self.words.wording.kind, self.words.labels
        return [Prediction(kind, labels[c], round(float(shares[c]), 4), by=ZERO_SHOT, sure=sure) for c in best]

    def _row(self, image: Image, max_pixels: int) -> Rows:
        if self.collection is None:
            return row_alone(self.encoder, image, max_pixels)
        with self.collection.catalog.snapshot():
            return ask(self.collection, [image], encoder=self._entry.info.name, max_pixels=max_pixels)[0].row


def embedded(encoder: Encoder, wording: Wording, watch: Watch = silent) -> Words:
    """The labels as an encoder reads them: for each the unit mean of the unit embeddings of its sentences.

    Raises EncoderError for an encoder that reads no words, QueryError and EmbeddingError where it refuses a sentence.
    """
    if not isinstance(encoder, TextEncoder):
        raise EncoderError(
            f"{encoder.info.name} knows pictures only, no words; name an encoder that reads them with "
            f"--encoder {EXAMPLE}, or a folder that `simsearch export-encoder` made of one"
        )
    each = len(wording.sentences)
    texts = [text for label in wording.labels for text in captions.prompts(wording.kind, label, wording.templates)]
    means = []
    at_once = max(1, TEXTS_AT_ONCE // each) * each  # whole labels
    for start in range(0, len(texts), at_once):
        watch("reading the labels", start // each, len(wording.labels))
        rows = encoder.embed_texts(texts[start : start + at_once])
        means.append(rows.reshape(-1, each, encoder.info.dim).mean(axis=1, dtype=np.float64))
    watch("reading the labels", len(wording.labels), len(wording.labels))
    return Words(wording, vectors.unit_rows(np.concatenate(means), encoder.info.dim), scale_of(encoder))


def scale_of(encoder: Encoder) -> float:
    """What an encoder multiplies cosines by before the softmax. Raises EncoderError for what is no such number."""
    scale = getattr(encoder, "logit_scale", None)
    if scale is None:
        return LOGIT_SCALE
    if not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0):
        raise EncoderError(f"{encoder.info.name} has the logit_scale {scale!r}; a number above 0 is needed")
    return float(scale)


def row_alone(encoder: Encoder, image: Image, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> Rows:
    """The unit embedding (1, dim) of an image that no collection is asked about.

    `image` is a path, a URL, ``-`` for standard input, or an image file's bytes. Raises ImageError, EmbeddingError, and
    ArtworkNotFoundError for an artwork's id.
    """
    if isinstance(image, int) or (isinstance(image, str) and image.isdecimal() and not Path(image).exists()):
        raise ArtworkNotFoundError(
            f"{image} would be the id of an artwork, but there is no collection in {Path.cwd()} or above it; name "
            "an image's path, or the collection with --collection"
        )
    data, name = (image, "the image") if isinstance(image, bytes) else images.read_query(str(image))
    rule = encoder.info.preprocessing
    picture = images.decode(data, name, max_pixels=max_pixels, side=rule.size)
    return vectors.as_stored(encoder.embed_images(images.fit(picture, rule)[None]))


def _encoder_alone(name: str | None) -> Encoder:
    if name is None:
        raise CollectionNotFoundError(
            f"there is no collection in {Path.cwd()} or above it to take an encoder from; name one that reads words "
            f"with --encoder {EXAMPLE}, or a folder that `simsearch export-encoder` made of one"
        )
    return load_encoder(name)


# -- what a person writes ----------------------------------------------------------------------------------------------


def labels_in(text: str) -> list[str]:
    """The labels of ``portrait,landscape,still life``; one with a comma stands in double quotes. Raises QueryError."""
    try:
        return next(csv.reader([" ".join(text.split())], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise QueryError(
            f"the labels {_quoted(text)} cannot be told apart ({error}); put commas between them, and a label with a "
            "comma in double quotes"
        ) from error


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without the spaces around them. Raises QueryError for fewer than two, an empty one, one said twice."""
    said = [" ".join(label.split()) for label in labels]
    for label in said:
        if not captions.spoken(label):
            what = f"the label {label!r} is no word" if label else "a label is empty"
            raise QueryError(f"{what}; name two or more, such as portrait and landscape")
        _check_text(label, "label")
    if len(said) < 2:
        found = f"there is only {_quoted(said[0])}" if said else "there is none"
        raise QueryError(f"a choice is made among two labels or more, {found}; put commas between them")
    spoken = [plain(label) for label in said]
    for place, form in enumerate(spoken):
        if form in spoken[:place]:
            first = said[spoken.index(form)]
            again = "" if first == said[place] else f", the second time as {_quoted(said[place])}"
            raise QueryError(f"the label {_quoted(first)} stands there twice{again}; leave one away")
    return tuple(said)


def checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates without the spaces around them. Raises QueryError for one that has no place for a label."""
    said = tuple(" ".join(template.split()) for template in templates)
    for template in said:
        _check_text(template, "template")
        if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
            raise QueryError(
                f"the template {_quoted(template)} needs {{}} once, where the label goes, and no other brace; write "
                'for example "a painting of {}"'
            )
    return said


def plain(label: str) -> str:
    """The form by which two ways to write a label are the same: its words, in small letters."""
    return captions.spoken(label).casefold()


def _check_text(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # bytes of the command line that are no text
        raise QueryError(f"the {what} {_quoted(text)} holds bytes that are no text; write it in UTF-8") from error


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
