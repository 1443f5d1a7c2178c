import re
from base64 import b64decode
from pathlib import Path

import pytest
from html_page import Page

from simsearch.records import Artwork, Hit, Label
from simsearch.show.sheet import SheetImage, contact_sheet

LOADING = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping", "style"}
JPEG = b"\xff\xd8\xff\xe0 thumbnail \xff\xd9"
QUERY = SheetImage("The Rialto Bridge", b"\xff\xd8\xff\xe0 query \xff\xd9", "query")
HOSTILE = (
    "<script>alert(1)</script>\n\"'><img src=http://evil.example/x onerror=alert(1)>\x1b[31m\u202e\udcff&amp;</style>"
)


def hit(rank=1, score=0.934, percentile: float | None = 99.84, **artwork):
    values = {"source": "folder:/art", "source_id": "a/rialto.jpg", "id": rank, "path": "/art/a/rialto.jpg"} | artwork
    return Hit(rank, score, percentile, Artwork(**values))


def sheet(hits=(), queries=(QUERY,), title="Works like this", note="", thumbnail=lambda path: JPEG):
    html = contact_sheet(title, queries, hits, thumbnail, note)
    html.encode()
    return Page(html)


def embedded(page):
    prefix = "data:image/jpeg;base64,"
    sources = page.attributes("img", "src")
    assert all(s.startswith(prefix) for s in sources)
    return [b64decode(s.removeprefix(prefix), validate=True) for s in sources]


def test_a_hit_says_what_it_is_and_how_near():
    labels = (Label("artist", "Canaletto"), Label("style", "Rococo"))
    page = sheet([hit(title="The Grand Canal", date="c. 1740", labels=labels)])
    assert page.texts("h3") == ["1 The Grand Canal"]
    assert page.texts("p", "artist") == ["Canaletto"]
    assert page.texts("p", "kind") == ["Rococo · c. 1740"]
    assert page.texts("p", "measure") == ["cosine 0.93nearer than 99.8 % of random pairs"]
    assert page.attributes("img", "alt") == ["The Rialto Bridge", "The Grand Canal, by Canaletto"]


def test_title_note_and_language_are_on_the_page():
    page = sheet(title="Bridges", note="12 of 950 works")
    assert page.texts("title") == page.texts("h1") == ["Bridges"]
    assert page.texts("p", "note") == ["12 of 950 works"]
    assert page.attributes("html", "lang") == ["en"]


def test_images_are_embedded_the_query_before_the_hits_in_their_order():
    seen = []

    def thumbnail(path):
        seen.append(path)
        return path.encode()

    page = sheet([hit(1, path="/art/b.jpg"), hit(2, path="/art/a.jpg")], thumbnail=thumbnail)
    assert embedded(page) == [QUERY.jpeg, b"/art/b.jpg", b"/art/a.jpg"]
    assert seen == ["/art/b.jpg", "/art/a.jpg"]
    assert page.texts("h2") == ["Query", "The 2 nearest works"]


def test_an_image_that_cannot_be_reached_leaves_a_box_that_says_so():
    page = sheet([hit(1, title="Lost"), hit(2, path=None)], thumbnail=lambda path: None)
    assert page.texts("span", "missing") == ["image not reachable"] * 2
    assert embedded(page) == [QUERY.jpeg]
    assert page.texts("h3")[0] == "1 Lost"


def test_no_hits_give_a_friendly_sentence():
    page = sheet()
    assert page.texts("p", "none")[0].startswith("No work of this collection answers the query.")
    assert not page.all("ol")
    assert not page.all("footer")


def test_without_a_percentile_only_the_cosine_is_shown():
    page = sheet([hit(percentile=None)])
    assert page.texts("p", "measure") == ["cosine 0.93"]


@pytest.mark.parametrize(
    ("percentile", "words"),
    [(100.0, "100.0 %"), (99.999, "99.9 %"), (99.3, "99.3 %"), (1.1, "1.1 %"), (0.0, "0.0 %")],
)
def test_a_percentile_is_never_rounded_up(percentile, words):
    measure = sheet([hit(percentile=percentile)]).texts("p", "measure")
    assert measure == [f"cosine 0.93nearer than {words} of random pairs"]


def test_a_cosine_just_below_zero_is_shown_as_zero():
    assert sheet([hit(score=-0.001, percentile=None)]).texts("p", "measure") == ["cosine 0.00"]


def test_hostile_text_stays_text_wherever_it_stands():
    labels = (Label("artist", HOSTILE), Label("style", HOSTILE))
    work = hit(title=HOSTILE, date=HOSTILE, labels=labels, source_url=HOSTILE, path=f"/art/{HOSTILE}.jpg")
    queries = [SheetImage(HOSTILE, JPEG, "query"), SheetImage(HOSTILE, None, "minus"), SheetImage("", JPEG, HOSTILE)]
    page = sheet([work], queries, title=HOSTILE, note=HOSTILE)
    plain = sheet(
        [hit(title="t", date="d", labels=(Label("artist", "a"), Label("style", "s")))],
        [SheetImage("q", JPEG, "query"), SheetImage("m", None, "minus"), SheetImage("", JPEG, "query")],
        title="t",
        note="n",
    )
    assert [(e.tag, set(e.attributes)) for e in page.elements] == [(e.tag, set(e.attributes)) for e in plain.elements]
    (shown,) = page.texts("h1")
    assert shown == (
        "<script>alert(1)</script> \"'><img src=http://evil.example/x onerror=alert(1)>"
        "\ufffd[31m\ufffd\ufffd&amp;</style>"
    )


def test_the_page_loads_nothing_and_runs_nothing():
    work = hit(title=HOSTILE, source_url="https://www.nga.gov/1.html")
    page = sheet([work], [SheetImage(HOSTILE, JPEG, "query")], title=HOSTILE, note=HOSTILE)
    tags = {element.tag for element in page.elements}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form", "svg"})
    for element in page.elements:
        tag, attrs = element.tag, element.attributes
        assert not any(name.startswith("on") for name in attrs), tag
        assert all(v.startswith("data:image/jpeg;base64,") for n, v in attrs.items() if n in LOADING)
    (css,) = page.texts("style")
    assert not re.search(r"url\(|@import|http|//", css)
    (policy,) = [
        meta.attributes["content"]
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")


def test_the_title_leads_to_the_file_by_a_quoted_address(tmp_path: Path):
    path = tmp_path / "Étude & 50% #1?.jpg"
    page = sheet([hit(path=str(path))])
    assert page.attributes("a", "href") == [path.as_uri()]
    assert path.as_uri().endswith("/%C3%89tude%20%26%2050%25%20%231%3F.jpg")


def test_a_file_name_that_is_not_utf8_is_linked_all_the_same():
    page = sheet([hit(path="/art/caf\udce9.jpg")])
    assert page.attributes("a", "href") == ["file:///art/caf%E9.jpg"]


@pytest.mark.parametrize("path", ["a/relative.jpg", "/art/\ud800.jpg", None])
def test_a_path_that_has_no_address_is_not_linked(path):
    assert sheet([hit(path=path)]).all("a") == []


def test_the_source_is_linked_under_the_name_of_its_host():
    url = 'https://www.nga.gov/object.1.html?a=1&b="2"\''
    page = sheet([hit(source_url=f" {url}\n")])
    assert page.attributes("a", "href") == ["file:///art/a/rialto.jpg", url]
    assert page.texts("p", "source") == ["www.nga.gov"]


def test_without_a_file_the_title_leads_to_the_source():
    page = sheet([hit(path=None, source_url="http://museum.example/1")])
    assert page.attributes("a", "href") == ["http://museum.example/1"] * 2


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "//evil.example/x",
        "www.nga.gov",
        "https://",
        "https://www.nga.gov@evil.example/",
        "https://evil.example\\@www.nga.gov/",
        "https://www.nga.gov/\t\u202egpj",
        "https://evil\n.example/",
        "https://caf\udce9.example/",
    ],
)
def test_an_address_that_is_no_plain_web_address_is_not_linked(url):
    assert sheet([hit(path=None, source_url=url)]).all("a") == []


def test_a_blend_says_which_query_pulls_and_which_pushes():
    page = sheet([hit()], [QUERY, SheetImage("gold ground", None, "minus")])
    assert page.texts("p", "role") == ["Like this", "Less like this"]


def test_a_query_in_words_stands_where_its_picture_would():
    page = sheet([hit()], [SheetImage("storm at sea", None, "query")])
    assert page.texts("p", "words") == ["storm at sea"]
    assert page.all("span", "missing") == []


@pytest.mark.parametrize("title", [None, "\n\t", "\u200e"])
def test_a_work_without_a_title_has_a_name_all_the_same(title):
    page = sheet([hit(title=title)])
    assert page.texts("h3") == ["1 rialto.jpg" if title is None else "1 Untitled"]


def test_one_work_is_not_announced_as_several():
    assert sheet([hit()]).texts("h2") == ["Query", "The nearest work"]
