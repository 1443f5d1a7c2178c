"""What all pages are made of: the frame of an HTML file that loads nothing, its colours, and safe markup."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html import escape
from pathlib import Path

from simsearch import images
from simsearch.errors import ImageError
from simsearch.records import Artwork
from simsearch.show.text import harmless

# A second lock behind the escaping: a browser fetches nothing for a page, and runs no script but the page's own.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

SIDE = 240
"""Pixels on the longer side of a thumbnail: sharp at twice the size at which a page of many shows it."""

WEB_ADDRESS = re.compile(r"https?://([^\s/\\?#@\"'<>]+)(?:[/?#].*)?", re.IGNORECASE)

Thumbnail = Callable[[Artwork], bytes | None]
"""JPEG bytes of an artwork, or None where its image cannot be reached."""

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
:is(a, button, summary, input, [tabindex]):focus-visible { outline: 2px solid var(--brass); outline-offset: 3px;
  border-radius: 1px; }
header { margin-bottom: clamp(1.75rem, 4vw, 3rem); }
.note { color: var(--quiet); margin-top: .5rem; max-width: 70ch; }
ol, ul { list-style: none; padding: 0; }
.mat { display: grid; place-items: center; aspect-ratio: 1; padding: 9%; background: var(--mat);
  border: 1px solid var(--line); }
.mat img { display: block; width: 100%; height: 100%; min-height: 0; object-fit: contain;
  filter: drop-shadow(0 1px 1px var(--shadow)) drop-shadow(0 4px 8px var(--shadow)); }
.missing { display: grid; place-items: center; width: 100%; height: 100%; padding: .5rem; text-align: center;
  color: var(--quiet); border: 1px dashed currentColor; font-size: .8125rem; }
h3 { font-size: 1.0625rem; line-height: 1.3; margin-bottom: .2rem; }
footer { margin-top: clamp(2.5rem, 5vw, 4rem); padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--quiet); font-size: .8125rem; }
footer p { max-width: 76ch; }
@media print {
  @page { margin: 14mm; }
  :root { color-scheme: light; --wall: #fff; --mat: #fff; --line: #bbb; --ink: #000; --quiet: #444; --brass: #444;
    font-size: 9pt; }
  .room { max-width: none; padding: 0 1px; }
  header { margin-bottom: 6mm; }
  h2 { break-after: avoid; margin-bottom: 1rem; }
  .mat img { filter: none; }
  a { text-decoration: none; }
}
"""


def page(title: str, body: str, css: str = "", script: str = "") -> str:
    """A whole HTML file around `body`, which is markup; `title` is text.

    The page loads nothing. `script` is the one thing that it runs: a policy in its head names that script by its hash.
    """
    allowed = f"; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" if script else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY + allowed)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{text(title)}</title>
<style>{CSS}{css}</style>
</head>
<body>
<div class="room">
{body}
</div>
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def text(words: str) -> str:
    """Escaped text, for an element or an attribute; a number and its per cent sign stay on one line."""
    return escape(harmless(words)).replace(" %", "\N{NO-BREAK SPACE}%")


def bidi(words: str) -> str:
    """Escaped text whose direction of writing does not spill over into what stands beside it."""
    return f"<bdi>{text(words)}</bdi>"


def paragraph(kind: str, words: str | None) -> str:
    """A paragraph of this class, or nothing where there is nothing to say."""
    return f'<p class="{kind}">{bidi(words)}</p>' if words else ""


def linked(address: str | None, markup: str) -> str:
    """`markup` as a link, or as it is where there is no address."""
    return f'<a href="{escape(address)}" rel="noopener noreferrer">{markup}</a>' if address else markup


def image(data: bytes, alt: str, kind: str = "jpeg") -> str:
    """An image that the page carries in itself."""
    return f'<img src="data:image/{kind};base64,{b64encode(data).decode()}" alt="{text(alt)}">'


def hung(work: Artwork, thumbnail: Thumbnail) -> str:
    """A work's picture on its mat; a plain box where the image cannot be reached."""
    jpeg = thumbnail(work)
    alt = f"{named(work)}, by {work.artist}" if work.artist else named(work)
    shown = image(jpeg, alt) if jpeg else '<span class="missing">image not reachable</span>'
    return f'<div class="mat">{shown}</div>'


def named(work: Artwork) -> str:
    """A work's title or file name, or `Untitled` where neither can be seen."""
    return harmless(work.name).strip() or "Untitled"


def titled(work: Artwork) -> str:
    """The name of a work as markup, leading to its file, or to its source on the web where there is no file."""
    web = web_link(work.source_url)
    return linked(file_link(work.path) or (web[0] if web else None), bidi(named(work)))


def thumbnail_of(work: Artwork) -> bytes | None:
    """JPEG bytes of a work's image, at most SIDE pixels on the longer side, or None where it cannot be reached."""
    try:
        return images.jpeg_thumbnail(images.read_bytes(Path(work.path)), work.path, SIDE) if work.path else None
    except ImageError:
        return None


def once(thumbnail: Thumbnail) -> Thumbnail:
    """`thumbnail`, asked only once for each path: a page may show a work several times."""
    known: dict[str | None, bytes | None] = {}

    def found(work: Artwork) -> bytes | None:
        if work.path not in known:
            known[work.path] = thumbnail(work)
        return known[work.path]

    return found


def file_link(path: str | None) -> str | None:
    """The ``file://`` address of an absolute path; None of any other."""
    try:
        return Path(path).as_uri() if path else None
    except ValueError:  # a relative path, or one that the file system's encoding cannot spell
        return None


def web_link(url: str | None) -> tuple[str, str] | None:
    """(address, host as markup) of an http or https address without user name; None of any other."""
    url = (url or "").strip()
    found = WEB_ADDRESS.fullmatch(url)
    # Browsers drop tabs and line breaks inside an address, which can then lead elsewhere than it reads.
    return (url, bidi(found[1])) if found and harmless(url) == url else None
