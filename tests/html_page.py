"""A page as tests look at it."""

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """The elements of a page with the text below each; fails on a tag that is not closed in its turn."""

    def __init__(self, html):
        super().__init__()
        html.encode()
        self.elements = []
        self._open = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> is there twice"
        element = Element(tag, dict(attrs), list(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.pieces.append(data)

    def all(self, tag=None, kind=None, inside=None):
        """Elements of this tag that bear this class, below `inside`."""
        return [
            e
            for e in self.elements
            if tag in (None, e.tag) and (kind is None or kind in e.kinds) and (inside is None or inside in e.above)
        ]

    def one(self, tag=None, kind=None, inside=None):
        (found,) = self.all(tag, kind, inside)
        return found

    def texts(self, tag=None, kind=None, inside=None):
        return [e.text for e in self.all(tag, kind, inside)]

    def attributes(self, tag, name):
        return [e.attributes[name] for e in self.all(tag) if name in e.attributes]

    def section(self, name):
        (found,) = [e for e in self.all("section") if e.attributes.get("id") == name]
        return found


class Element:
    def __init__(self, tag, attributes, above):
        self.tag, self.attributes, self.above, self.pieces = tag, attributes, above, []

    @property
    def kinds(self):
        return (self.attributes.get("class") or "").split()

    @property
    def text(self):
        return " ".join("".join(self.pieces).split())


def check_accessible(page):
    """Language, one h1, no level of headings left out, an alternative text for each picture, labels that are there."""
    assert page.one("html").attributes["lang"] == "en"
    levels = [int(e.tag[1]) for e in page.elements if e.tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert all(e.attributes["alt"].strip() for e in page.all("img"))
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("aria-labelledby", "list"):
            assert name not in element.attributes or element.attributes[name] in ids
    links = [e.attributes["href"] for e in page.all("a")]
    assert all(link.removeprefix("#") in ids for link in links if link.startswith("#"))


def check_self_contained(page):
    """Nothing is loaded, and the one script is the one that the policy names."""
    tags = {e.tag for e in page.elements}
    assert tags.isdisjoint({"link", "iframe", "object", "embed", "base", "form", "svg", "video", "audio"})
    for element in page.elements:
        assert not any(name.startswith("on") for name in element.attributes), element.tag
        for name in ("src", "srcset", "data", "poster", "background", "action", "formaction", "ping"):
            value = element.attributes.get(name, "data:image/")
            assert value.startswith("data:image/")
    css = "".join("".join(e.pieces) for e in page.all("style"))
    assert not any(words in css for words in ("url(", "@import", "http", "//"))
    (policy,) = [
        e.attributes["content"] for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    scripts = page.all("script")
    assert len(scripts) <= 1
    for script in scripts:
        digest = b64encode(sha256("".join(script.pieces).encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
    assert scripts or "script-src" not in policy
