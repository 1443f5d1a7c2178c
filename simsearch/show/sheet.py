"""A contact sheet: one HTML page that shows a query beside its neighbours, whole in itself and made to be kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simsearch import images
from simsearch.errors import ImageError
from simsearch.records import Artwork, Hit
from simsearch.show.page import bidi, file_link, image, linked, named, page, paragraph, web_link

SIDE, QUERY_SIDE = 360, 560
"""Pixels on the longer side of the pictures: sharp at twice the size at which a page of twenty hits shows them."""

NO_HITS = (
    '<p class="none">No work of this collection answers the query. '
    "Fewer filters or a larger collection may bring some to light.</p>"
)

LEGEND = (
    "<footer><p>The cosine tells how alike the encoder finds the query and a work: 1.00 is the same, 0.00 unrelated. "
    "Random pairs are any two works of this collection. A near neighbour is a resemblance, not an attribution."
)
LEGENDS = {
    "blend": "The blend is the weighted mean of what several encoders say, each in standard deviations of its own "
    "cosines of this query; the cosines stand in brackets.",
    "rrf": "Works stand by their places in two searches: by their pictures, and by the words of their descriptions.",
    "bm25": "Works stand by how well the words fit their descriptions.",
}
GUESSED = " What a work “resembles” is a prediction by a trained head: no person and no source has said it of the work."

CSS = """
.hang { display: grid; grid-template-columns: clamp(11rem, 27%, 21rem) minmax(0, 1fr); gap: clamp(1.75rem, 4vw, 4rem); }
.works { display: grid; gap: 2.5rem 1.75rem; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); }
.works li { position: relative; }
.works .mat { overflow: hidden; }
.works h3 a::after { content: ""; position: absolute; inset: 0 0 auto; aspect-ratio: 1; }
figcaption { padding-top: .9rem; }
figcaption p { color: var(--quiet); }
figcaption .artist { color: var(--ink); }
.guess { font-style: italic; }
h3 { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
.rank { color: var(--brass); margin-right: .3em; font-variant-numeric: lining-nums; }
.measure { margin-top: .45rem; font-size: .8125rem; font-variant-numeric: tabular-nums; }
.source { font-size: .8125rem; }
.query li + li { margin-top: 2rem; }
.query .mat { aspect-ratio: auto; padding: 7%; }
.query img { height: auto; max-height: 62vh; }
.query.several img { max-height: 30vh; }
.role { font-size: .75rem; letter-spacing: .04em; }
.minus .role::before { content: "\\2212\\a0"; }
.query .caption { color: var(--ink); font-family: var(--serif); font-size: 1.0625rem; line-height: 1.35; }
.words { font-size: 1.375rem; line-height: 1.35; padding: 1.5rem .5rem; text-align: center; text-wrap: balance; }
.none { font: 400 1.25rem/1.5 var(--serif); max-width: 34ch; padding: 1rem 0; }
@media (min-width: 48.01rem) and (min-height: 40rem) {
  .query:not(.several) { position: sticky; top: 2rem; align-self: start; }
}
@media (max-width: 48rem) {
  .hang { grid-template-columns: minmax(0, 1fr); }
  .query img { max-height: 45vh; }
  .several ul { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
  .query.several li + li { margin-top: 0; }
  .works { gap: 2rem 1rem; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
}
@media print {
  .hang { display: block; }
  .query { position: static; margin-bottom: 6mm; }
  .query ul { display: flex; flex-wrap: wrap; gap: 5mm; }
  .query li { width: 42mm; }
  .query.query li + li { margin-top: 0; }
  .query.query img { max-height: 38mm; }
  .works { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6mm 5mm; }
  .works .mat, .works h3 a::after { aspect-ratio: 5 / 4; }
  .works .mat { padding: 5%; }
  .works li, .query li, footer { break-inside: avoid; }
  h3 { display: block; }
}
"""


@dataclass(frozen=True, slots=True)
class SheetImage:
    """One picture of the question, as it hangs beside the answers."""

    caption: str
    jpeg: bytes | None
    """None for words, or for a picture that is not at hand: the caption is then set in its place."""
    role: str
    """``query`` for what the hits should be like, ``minus`` for what they should be less like."""


def thumbnail_of(path: str) -> bytes | None:
    """JPEG bytes of an image file, at most SIDE pixels on the longer side, or None where it cannot be reached."""
    try:
        return images.jpeg_thumbnail(images.read_bytes(Path(path)), path, SIDE)
    except ImageError:
        return None


def query_image(caption: str, picture: Callable[[], images.Picture], role: str) -> SheetImage:
    """A picture of the question; where it cannot be reached any more, its caption stands in its place."""
    try:
        return SheetImage(caption, images.encode_jpeg(picture().image, QUERY_SIDE), role)
    except ImageError:
        return SheetImage(caption, None, role)


def contact_sheet(
    title: str,
    queries: Sequence[SheetImage],
    hits: Sequence[Hit],
    thumbnail: Callable[[str], bytes | None],
    note: str = "",
) -> str:
    """An HTML page with the queries beside their hits, in the order given; it loads nothing and runs nothing.

    `thumbnail` gives the JPEG bytes of an artwork's path, or None where the image cannot be reached; it is called once
    for each hit that has a path. All text is escaped. The page encodes as UTF-8.
    """
    works = "\n".join(_work(hit, thumbnail) for hit in hits)
    blend = any(image.role == "minus" for image in queries)
    asked = "\n".join(_query(image, blend) for image in queries)
    several = " several" if len(queries) > 1 else ""
    body = f"""<header>
<h1>{bidi(title)}</h1>
{paragraph("note", note)}
</header>
<main class="hang">
<section class="query{several}" aria-labelledby="query">
<h2 id="query">Query</h2>
<ul role="list">
{asked}
</ul>
</section>
<section aria-labelledby="works">
<h2 id="works">{_heading(len(hits))}</h2>
{f'<ol class="works" role="list">{works}</ol>' if hits else NO_HITS}
</section>
</main>
{_legend(hits) if hits else ""}"""
    return page(title, body, CSS)


def _work(hit: Hit, thumbnail: Callable[[str], bytes | None]) -> str:
    """The list item of one hit: its image on a mat, and the label below."""
    art = hit.artwork
    name = named(art)
    jpeg = thumbnail(art.path) if art.path else None
    alt = f"{name}, by {art.artist}" if art.artist else name
    shown = image(jpeg, alt) if jpeg else '<span class="missing">image not reachable</span>'
    web = web_link(art.source_url)
    link = file_link(art.path) or (web[0] if web else None)
    measure = _measure(hit) + ("" if hit.percentile is None else f"<br>{_nearness(hit.percentile)}")
    return f"""<li><figure>
<div class="mat">{shown}</div>
<figcaption>
<h3><span class="rank">{hit.rank}</span> {linked(link, bidi(name))}</h3>
{paragraph("artist", art.artist)}
{paragraph("kind", " · ".join(part for part in (art.style, art.date) if part))}
{paragraph("guess", _resemblance(art))}
<p class="measure">{measure}</p>
{f'<p class="source">{linked(*web)}</p>' if web else ""}
</figcaption>
</figure></li>"""


def _measure(hit: Hit) -> str:
    """How near a hit is, on its own scale."""
    if hit.ranks:
        names = {"pictures": "by its picture", "metadata": "by its words"}
        return ", ".join(f"no. {rank} {names[of]}" for of, rank in hit.ranks.items())
    if hit.blend:
        parts = ", ".join(f"{bidi(name)} {share.cosine:z.2f}" for name, share in hit.blend.items())
        return f"blend {hit.score:z.2f} ({parts})"
    return f"{'words' if hit.scale == 'bm25' else hit.scale} {hit.score:z.2f}"


def _query(asked: SheetImage, blend: bool) -> str:
    """The list item of one picture of the question; in a blend of likes and dislikes it says which it is."""
    minus = asked.role == "minus"
    label = paragraph("role", "Less like this" if minus else "Like this") if blend else ""
    if asked.jpeg:
        shown = image(asked.jpeg, asked.caption or "The query")
        label += paragraph("caption", asked.caption)
    else:
        shown = f'<p class="words">{bidi(asked.caption or "Without a name")}</p>'
    return f"""<li{' class="minus"' if minus else ""}><figure>
<div class="mat">{shown}</div>
{f"<figcaption>{label}</figcaption>" if label else ""}
</figure></li>"""


def _legend(hits: Sequence[Hit]) -> str:
    if hits[0].scale != "cosine":
        return (
            f"<footer><p>{LEGENDS[hits[0].scale]} A near neighbour is a resemblance, not an attribution.</p></footer>"
        )
    guessed = GUESSED if any(_resemblance(hit.artwork) for hit in hits) else ""
    return f"{LEGEND}{guessed}</p></footer>"


def _resemblance(art: Artwork) -> str:
    """What is only predicted of a work, in words that no reader takes for what was said of it."""
    found = [guess.value for kind in ("style", "artist") if (guess := art.resembles(kind))]
    return f"resembles {' · '.join(found)}" if found else ""


def _heading(count: int) -> str:
    return "Nearest works" if count == 0 else "The nearest work" if count == 1 else f"The {count} nearest works"


def _nearness(percentile: float) -> str:
    """The percentile in words, rounded down: only what beats every random pair may say 100 %."""
    tenths = math.floor(round(percentile * 10, 6))
    return f"nearer than {tenths / 10:.1f} % of random pairs"
