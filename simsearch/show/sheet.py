"""A contact sheet: one HTML page that shows a query beside its neighbours, whole in itself and made to be kept."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from simsearch import images
from simsearch.errors import ImageError
from simsearch.records import Hit
from simsearch.show.text import harmless

# A second lock behind the escaping: a browser runs no script and fetches nothing for this page, whatever is in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

SIDE, QUERY_SIDE = 360, 560
"""Pixels on the longer side of the pictures: sharp at twice the size at which a page of twenty hits shows them."""

WEB_ADDRESS = re.compile(r"https?://([^\s/\\?#@\"'<>]+)(?:[/?#].*)?", re.IGNORECASE)

NO_HITS = (
    '<p class="none">No work of this collection answers the query. '
    "Fewer filters or a larger collection may bring some to light.</p>"
)

LEGEND = (
    "<footer><p>The cosine tells how alike the encoder finds the query and a work: 1.00 is the same, 0.00 unrelated. "
    "Random pairs are any two works of this collection. A near neighbour is a resemblance, not an attribution.</p>"
    "</footer>"
)

CSS = """
:root {
  color-scheme: light dark;
  --wall: #f5f3ef; --mat: #fdfcfa; --line: #e0dbd2; --ink: #24211d; --quiet: #645d53; --brass: #7d5a22;
  --shadow: rgb(60 48 30 / .28);
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", "Book Antiqua", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --wall: #171614; --mat: #2c2a26; --line: #3d3a34; --ink: #ece7de; --quiet: #a9a196; --brass: #d6b67e;
    --shadow: rgb(0 0 0 / .6);
  }
}
* { box-sizing: border-box; margin: 0; }
body { background: var(--wall); color: var(--ink); font: 400 .875rem/1.5 var(--sans); overflow-wrap: anywhere; }
.room { max-width: 96rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem); }
h1, h3, .words { font-family: var(--serif); font-weight: 400; }
h1 { font-size: clamp(1.6rem, 1.2rem + 1.6vw, 2.4rem); line-height: 1.2; letter-spacing: -.01em; text-wrap: balance; }
h2 { font-size: .75rem; font-weight: 600; letter-spacing: .1em; text-transform: uppercase; color: var(--quiet);
  padding-bottom: .6rem; border-bottom: 1px solid var(--line); margin-bottom: 1.5rem; }
a { color: inherit; text-decoration: underline 1px var(--line); text-underline-offset: .2em; }
a:hover { text-decoration-color: var(--brass); }
a:focus-visible { outline: 2px solid var(--brass); outline-offset: 3px; border-radius: 1px; }
header { margin-bottom: clamp(1.75rem, 4vw, 3rem); }
.note { color: var(--quiet); margin-top: .5rem; max-width: 70ch; }
.hang { display: grid; grid-template-columns: clamp(11rem, 27%, 21rem) minmax(0, 1fr); gap: clamp(1.75rem, 4vw, 4rem); }
ol, ul { list-style: none; padding: 0; }
.works { display: grid; gap: 2.5rem 1.75rem; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); }
.works li { position: relative; }
.mat { display: grid; place-items: center; aspect-ratio: 1; padding: 9%; background: var(--mat);
  border: 1px solid var(--line); }
.mat img { display: block; width: 100%; height: 100%; min-height: 0; object-fit: contain;
  filter: drop-shadow(0 1px 1px var(--shadow)) drop-shadow(0 4px 8px var(--shadow)); }
.works .mat { overflow: hidden; }
.works h3 a::after { content: ""; position: absolute; inset: 0 0 auto; aspect-ratio: 1; }
.missing { display: grid; place-items: center; width: 100%; height: 100%; padding: .5rem; text-align: center;
  color: var(--quiet); border: 1px dashed currentColor; font-size: .8125rem; }
figcaption { padding-top: .9rem; }
figcaption p { color: var(--quiet); }
figcaption .artist { color: var(--ink); }
h3 { font-size: 1.0625rem; line-height: 1.3; margin-bottom: .2rem; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 4; overflow: hidden; }
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
footer { margin-top: clamp(2.5rem, 5vw, 4rem); padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--quiet); font-size: .8125rem; }
footer p { max-width: 76ch; }
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
  @page { margin: 14mm; }
  :root { color-scheme: light; --wall: #fff; --mat: #fff; --line: #bbb; --ink: #000; --quiet: #444; --brass: #444;
    font-size: 9pt; }
  .room { max-width: none; padding: 0 1px; }
  header { margin-bottom: 6mm; }
  h2 { break-after: avoid; margin-bottom: 1rem; }
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
  .mat img { filter: none; }
  h3 { display: block; }
  a { text-decoration: none; }
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
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<div class="room">
<header>
<h1>{_bidi(title)}</h1>
{_line("note", note)}
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
{LEGEND if hits else ""}
</div>
</body>
</html>
"""


def _work(hit: Hit, thumbnail: Callable[[str], bytes | None]) -> str:
    """The list item of one hit: its image on a mat, and the label below."""
    art = hit.artwork
    name = harmless(art.name).strip() or "Untitled"
    jpeg = thumbnail(art.path) if art.path else None
    alt = f"{name}, by {art.artist}" if art.artist else name
    image = _image(jpeg, alt) if jpeg else '<span class="missing">image not reachable</span>'
    web = _web_link(art.source_url)
    link = _file_link(art.path) or (web[0] if web else None)
    measure = f"cosine {hit.score:z.2f}" + ("" if hit.percentile is None else f"<br>{_nearness(hit.percentile)}")
    return f"""<li><figure>
<div class="mat">{image}</div>
<figcaption>
<h3><span class="rank">{hit.rank}</span> {_linked(link, _bidi(name))}</h3>
{_line("artist", art.artist)}
{_line("kind", " · ".join(part for part in (art.style, art.date) if part))}
<p class="measure">{measure}</p>
{f'<p class="source">{_linked(*web)}</p>' if web else ""}
</figcaption>
</figure></li>"""


def _query(image: SheetImage, blend: bool) -> str:
    """The list item of one picture of the question; in a blend of likes and dislikes it says which it is."""
    minus = image.role == "minus"
    label = _line("role", "Less like this" if minus else "Like this") if blend else ""
    if image.jpeg:
        shown = _image(image.jpeg, image.caption or "The query")
        label += _line("caption", image.caption)
    else:
        shown = f'<p class="words">{_bidi(image.caption or "Without a name")}</p>'
    return f"""<li{' class="minus"' if minus else ""}><figure>
<div class="mat">{shown}</div>
{f"<figcaption>{label}</figcaption>" if label else ""}
</figure></li>"""


def _heading(count: int) -> str:
    return "Nearest works" if count == 0 else "The nearest work" if count == 1 else f"The {count} nearest works"


def _nearness(percentile: float) -> str:
    """The percentile in words, rounded down: only what beats every random pair may say 100 %."""
    tenths = math.floor(round(percentile * 10, 6))
    return f"nearer than {tenths / 10:.1f} % of random pairs"


def _image(jpeg: bytes, alt: str) -> str:
    return f'<img src="data:image/jpeg;base64,{b64encode(jpeg).decode()}" alt="{_text(alt)}">'


def _line(kind: str, text: str | None) -> str:
    """A paragraph of this class, or nothing where there is nothing to say."""
    return f'<p class="{kind}">{_bidi(text)}</p>' if text else ""


def _linked(address: str | None, markup: str) -> str:
    return f'<a href="{escape(address)}" rel="noopener noreferrer">{markup}</a>' if address else markup


def _file_link(path: str | None) -> str | None:
    """The ``file://`` address of an absolute path; None of any other."""
    try:
        return Path(path).as_uri() if path else None
    except ValueError:  # a relative path, or one that the file system's encoding cannot spell
        return None


def _web_link(url: str | None) -> tuple[str, str] | None:
    """(address, host as markup) of an http or https address without user name; None of any other."""
    url = (url or "").strip()
    found = WEB_ADDRESS.fullmatch(url)
    # Browsers drop tabs and line breaks inside an address, which can then lead elsewhere than it reads.
    return (url, _bidi(found[1])) if found and harmless(url) == url else None


def _text(text: str) -> str:
    return escape(harmless(text))


def _bidi(text: str) -> str:
    """Escaped text whose direction of writing does not spill over into what stands beside it."""
    return f"<bdi>{_text(text)}</bdi>"
