"""`simsearch.show.evaluation_page`: the page shows what was measured, whole in itself and safe."""

import io
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from evaluations import evaluation, work
from html_page import Page, check_accessible, check_self_contained
from PIL import Image

from simsearch.figures import ClassFigures
from simsearch.records import Artwork, Estimate, Label
from simsearch.show import plots
from simsearch.show.evaluation_page import evaluation_page
from simsearch.show.numbers import decimals, estimate, per_cent
from simsearch.show.page import SIDE, thumbnail_of

HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>&amp;</style>\x1b\u202e\udcff"
NAN = float("nan")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return evaluation(16, 600, folder=tmp_path_factory.mktemp("works"))


@pytest.fixture(scope="module")
def page(measured):
    return Page(evaluation_page(measured))


def bars(page, chart):
    """(name, number, places of bar and interval) of each row of a chart."""
    rows = []
    for item in page.all("li", inside=chart):
        styles = [e.attributes["style"] for tag in "ib" for e in page.all(tag, inside=item)]
        rows.append((page.one(kind="name", inside=item).text, page.one(kind="number", inside=item).text, styles))
    return rows


def drawn(figure):
    """What a bar of this figure should be."""
    low, value, high = (100 * min(1, max(0, v)) for v in (figure.low, figure.value, figure.high))
    words = f"{100 * figure.value:.1f} % {100 * figure.low:.1f}–{100 * figure.high:.1f}"
    return words, [f"--v:{value:.2f}%", f"--low:{low:.2f}%;--high:{high:.2f}%"]


def test_it_begins_with_what_was_measured_and_the_answer(measured, page):
    assert page.texts("h1") == page.texts("title") == ["Naming the style of a work"]
    note = page.one("p", "note", inside=page.one("header")).text
    assert note.startswith("600 held-out works of val by 37 artists, against 680 labelled works.")
    first, *_ = page.texts("p", "answer")
    assert first.startswith(
        f"The head names the style of {per_cent(measured.methods[0].figures['top1'].value)} of the works"
    )
    assert page.elements.index(page.one("header")) < page.elements.index(page.one("main"))


@pytest.mark.parametrize(("place", "figure"), list(enumerate(["top1", "top5", "macro_f1"])))
def test_each_chart_holds_every_method_with_bar_and_interval(measured, page, place, figure):
    chart = page.all("figure", "chart", inside=page.section("methods"))[place]
    for method, (name, number, styles) in zip(measured.methods, bars(page, chart), strict=True):
        assert name == ("head style" if method.name == "style" else method.name)
        if figure in method.figures:
            assert (number, styles) == drawn(method.figures[figure])
        else:
            assert (number, styles) == ("-", [])
    assert [page.one(kind="name", inside=e).text for e in page.all("li", "main", inside=chart)] == ["head style"]


def test_all_figures_are_folded_below(measured, page):
    folded = page.all("details", inside=page.section("methods"))
    assert len(folded) == 1
    assert "open" not in folded[0].attributes
    rows = [page.texts("td", inside=row) for row in page.all("tr", inside=folded[0])][1:]
    names = ["top1", "top5", *(f"{a}_{f}" for a in ("macro", "weighted") for f in ("precision", "recall", "f1"))]
    assert rows == [[estimate(m.figures[n]) if n in m.figures else "-" for n in names] for m in measured.methods]


def test_the_table_of_classes_is_by_f1_with_what_each_is_taken_for(measured, page):
    rows = page.all("tr", inside=page.one("tbody", inside=page.section("classes")))
    by_f1 = sorted(measured.head.per_class, key=lambda figures: (-figures.f1, figures.name))
    counts = np.array(measured.head.confusion)
    for row, figures in zip(rows, by_f1, strict=True):
        cells = page.texts("td", inside=row)
        assert page.one("th", inside=row).text == figures.name
        assert cells[:2] == [str(figures.support), str(figures.trained)]
        assert cells[2:5] == [decimals(v) for v in (figures.f1, figures.recall, figures.precision)]
        places = [e.attributes["style"] for e in page.all("i", inside=row)]
        assert places == [f"--v:{100 * v:.2f}%" for v in (figures.f1, figures.recall, figures.precision)]
        own = measured.head.classes.index(figures.name)
        wrong = [(-n, i) for i, n in enumerate(counts[own].tolist()) if i != own and n]
        most = f"{measured.head.classes[min(wrong)[1]]} {per_cent(-min(wrong)[0] / figures.support)}" if wrong else ""
        assert cells[5] == most


def test_cells_sort_by_values_that_the_page_carries(measured, page):
    table = page.one("table", inside=page.section("classes"))
    rows = page.all("tr", inside=page.one("tbody", inside=table))
    f1 = [float(page.all("td", inside=row)[2].attributes["data-value"]) for row in rows]
    assert f1 == sorted(f1, reverse=True)
    assert [e.text for e in page.all("th", inside=table) if e.attributes.get("aria-sort") == "descending"] == ["F1"]
    assert page.all("button") == []  # a script makes the heads clickable, so that without one nothing is dead


def test_best_and_worst_class_are_named_and_classes_without_works_counted():
    measured = evaluation(8, 300)
    rows = (*measured.head.per_class[:7], ClassFigures(measured.head.classes[7], 0, 5, 0.0, 0.0, 0.0))
    page = Page(evaluation_page(replace(measured, head=replace(measured.head, per_class=rows))))
    best, worst = max(rows[:7], key=lambda row: row.f1), min(rows[:7], key=lambda row: row.f1)
    assert page.texts("p", "said", inside=page.section("classes"))[0] == (
        f"It tells {best.name} best (F1 {decimals(best.f1)}) and {worst.name} least (F1 {decimals(worst.f1)}). "
        "1 class has no held-out work."
    )


def test_the_worst_pairs_come_with_their_works_and_typical_ones_of_the_other_class(measured, page):
    articles = page.all("article", inside=page.section("pairs"))
    supports = {figures.name: figures.support for figures in measured.head.per_class}
    for pair, article in zip(measured.head.confused, articles, strict=True):
        assert page.one("h3", inside=article).text == f"{pair.true} taken for {pair.predicted}"
        assert page.one("p", "note", inside=article).text == (
            f"{pair.count} of {supports[pair.true]} works, {per_cent(pair.share)}"
        )
        works = [*(shown for shown, _ in pair.examples), *pair.typical]
        assert page.texts("p", "title", inside=article) == [shown.title for shown in works]
        assert page.texts("p", "artist", inside=article) == [shown.artist for shown in works]
        assert page.texts("p", "sure", inside=article) == [per_cent(p) for _, p in pair.examples]
        headings = page.texts("h4", inside=article)
        assert headings[0].startswith(f"labelled {pair.true}; the head says {pair.predicted}")
        assert headings[1] == f"for comparison, typical works labelled {pair.predicted}"


def test_thumbnails_are_the_works_own_pictures(measured, page):
    pair = measured.head.confused[0]
    article = page.all("article")[0]
    for (shown, _), image in zip(pair.examples, page.all("img", inside=article), strict=False):
        data = b64decode(image.attributes["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
        with Image.open(io.BytesIO(data)) as small, Image.open(shown.path) as original:
            assert small.size == original.size == (60, 40)
            assert small.getpixel((50, 5)) == pytest.approx(original.getpixel((50, 5)), abs=12)
        assert image.attributes["alt"] == f"{shown.title}, by {shown.artist}"


def test_a_thumbnail_is_small_and_a_missing_image_none(tmp_path):
    Image.new("RGB", (1200, 300), "navy").save(tmp_path / "large.jpg")
    with Image.open(io.BytesIO(thumbnail_of(Artwork("s", "l", path=str(tmp_path / "large.jpg"))))) as small:
        assert small.size == (SIDE, SIDE // 4)
    assert thumbnail_of(Artwork("s", "gone", path=str(tmp_path / "gone.jpg"))) is None
    assert thumbnail_of(Artwork("s", "nowhere")) is None


def test_missing_images_leave_a_box_that_says_so():
    measured = evaluation(8, 300)
    page = Page(evaluation_page(measured))
    works = sum(len(pair.examples) + len(pair.typical) for pair in measured.head.confused)
    assert page.texts("span", "missing") == ["image not reachable"] * works


def test_each_file_is_read_once(measured):
    seen = []
    evaluation_page(measured, lambda shown: seen.append(shown.path))
    assert len(seen) == len(set(seen)) > 10


def test_more_examples_fill_the_row_where_there_are_no_typical_works():
    measured = evaluation(8, 300)
    pair = measured.head.confused[0]
    many = tuple((work(n, pair.true), 0.9) for n in range(1, 7))
    for typical, shown in (((), 6), (pair.typical, 4 + len(pair.typical))):
        changed = replace(pair, examples=many, typical=typical)
        page = Page(evaluation_page(replace(measured, head=replace(measured.head, confused=(changed,)))))
        assert len(page.all("p", "title")) == shown


def test_plots_are_the_heads_own_at_half_their_pixels(measured, page):
    images = {e.attributes["alt"].split()[0]: e.attributes for e in page.all("img") if "width" in e.attributes}
    for alt, plot in (("Confusion", plots.confusion_plot), ("Reliability:", plots.reliability_plot),
                      ("Share", plots.coverage_plot)):  # fmt: skip
        png = plot(measured.head)
        assert b64decode(images[alt]["src"].removeprefix("data:image/png;base64,"), validate=True) == png
        with Image.open(io.BytesIO(png)) as image:
            shown = (int(images[alt]["width"]), int(images[alt]["height"]))
            assert shown == (round(image.width / 2), round(image.height / 2))


def test_calibration_and_abstention_are_said_beside_the_plots(measured, page):
    reliable, covered = page.texts("figcaption", inside=page.section("sureness"))
    head = measured.head
    assert (
        f"The expected calibration error is {estimate(head.ece)}, the Brier score {estimate(head.brier)};" in reliable
    )
    answered, right = drawn(head.answered)[0], drawn(head.accuracy_answered)[0]
    assert f"Below a probability of {decimals(head.threshold)} the head says that it is unsure." in covered
    assert f"{answered.split(' %')[0]} % of the works ({answered.split('% ')[1]})" in covered
    assert f"{right.split(' %')[0]} % of those ({right.split('% ')[1]})" in covered


def test_retrieval_stands_with_and_without_the_artist_and_says_what_that_means(measured, page):
    section = page.section("retrieval")
    for chart, figure in zip(page.all("figure", "chart", inside=section), ("p1", "p10", "map"), strict=True):
        rows = bars(page, chart)
        assert [name for name, _, _ in rows] == ["all artists", "other artists only"]
        assert [tuple(row[1:]) for row in rows] == [drawn(getattr(found, figure)) for found in measured.retrieval]
    table = [page.texts("td", inside=row) for row in page.all("tr", inside=page.one("table", inside=section))][1:]
    assert table == [
        [*(estimate(found.recall[k]) for k in (1, 10, 100)), str(found.queries), str(found.without_relevant)]
        for found in measured.retrieval
    ]
    both, other = measured.retrieval
    (words,) = page.texts("p", "said", inside=section)
    gap = 100 * (both.p10.value - other.p10.value)
    assert f"Of the ten nearest works {per_cent(both.p10.value)} share the style; " in words
    assert f"without works by the same artist, {per_cent(other.p10.value)}. {gap:.1f} points of the agreement" in words


def test_a_difference_within_the_intervals_is_said_to_be_small(measured):
    both, other = measured.retrieval
    close = (replace(both, p10=Estimate(0.5, 0.4, 0.6)), replace(other, p10=Estimate(0.45, 0.35, 0.55)))
    page = Page(evaluation_page(replace(measured, retrieval=close)))
    assert "The intervals overlap" in page.texts("p", "said", inside=page.section("retrieval"))[0]


def test_what_was_left_out_and_how_it_was_split_stand_at_the_end(page):
    section = page.section("measured")
    facts = dict(zip(page.texts("dt", inside=section), page.texts("dd", inside=section), strict=True))
    assert facts["measured on"] == "600 works of val"
    assert facts["answered by"] == "680 labelled works"
    assert facts["artists measured"] == "37"
    assert facts["left out"] == "3 works without an embedding1 work of classes that the head does not know"
    assert "seed 7" in facts["intervals"]


def test_how_works_were_held_out_is_said_in_words(measured):
    page = Page(evaluation_page(measured))
    lists = page.all("dl", inside=page.section("measured"))
    said = dict(zip(page.texts("dt", inside=lists[0]), page.texts("dd", inside=lists[0]), strict=True))["split"]
    assert said == (
        "20.0 % of the works held out, class by classdrawn with seed 7"
        "whole artists are held out: none stands on both sidesnear-duplicates (cosine from .930) stand on one side only"
    )
    official = {"split": {"official": True, "near_duplicate": 0.93, "by": "auto"}}
    other = Page(evaluation_page(replace(measured, head=replace(measured.head, card=official))))
    assert "as published with the works" in other.section("measured").text


def test_the_card_is_folded_away_and_whole(measured, page):
    (card,) = page.all("details", inside=page.section("measured"))
    assert "open" not in card.attributes
    assert page.one("summary", inside=card).text == "The head's card"
    for words in ("balance none", "group by artist", "2024-05-01", ", ".join(measured.head.card["classes"])):
        assert all(word in card.text for word in words.split())


def test_without_a_head_neighbours_and_retrieval_alone_are_shown():
    measured = evaluation(8, 300)
    page = Page(evaluation_page(replace(measured, head=None, methods=measured.methods[1:])))
    assert [e.attributes["id"] for e in page.all("section")] == ["methods", "retrieval", "measured"]
    assert page.texts("p", "answer")[0].startswith("The nearest work has the same style for")
    assert page.all("img") == []
    check_self_contained(page)
    check_accessible(page)


def test_figures_that_are_not_defined_are_dashes(measured):
    nothing = Estimate(NAN, NAN, NAN)
    head = replace(measured.head, answered=Estimate(0, 0, 0), accuracy_answered=nothing, coverage=(), confused=())
    empty = tuple(replace(found, p1=nothing, p10=nothing, map=nothing) for found in measured.retrieval)
    html = evaluation_page(replace(measured, head=head, retrieval=empty))
    page = Page(html)
    assert "nan" not in page.one("main").text
    assert "No class was taken for another." in page.section("pairs").text


@pytest.mark.parametrize(("classes", "works"), [(2, 200), (234, 700)])
def test_few_and_many_classes_have_a_page(classes, works):
    measured = evaluation(classes, works)
    page = Page(evaluation_page(measured))
    assert len(page.all("tr", inside=page.one("tbody", inside=page.section("classes")))) == classes
    charts = page.all("figure", "chart", inside=page.section("methods"))
    assert len(charts) == (3 if classes > 5 else 2)
    check_self_contained(page)
    check_accessible(page)


def test_the_page_is_accessible_and_loads_nothing(page):
    check_self_contained(page)
    check_accessible(page)
    (viewport,) = [e for e in page.all("meta") if e.attributes.get("name") == "viewport"]
    assert "width=device-width" in viewport.attributes["content"]


def test_the_same_evaluation_gives_the_same_page(measured):
    assert evaluation_page(measured) == evaluation_page(measured)


def with_names(measured, change):
    """The evaluation with every text that came from outside changed."""
    head = measured.head
    artwork = lambda shown: replace(  # noqa: E731
        shown, title=change(shown.title), path=f"/art/{change('x')}.jpg",
        labels=(Label("artist", change("a")), Label("style", change("s"))), source_url=change("u"),
    )  # fmt: skip
    confused = tuple(
        replace(
            pair, true=change(pair.true), predicted=change(pair.predicted),
            examples=tuple((artwork(shown), p) for shown, p in pair.examples),
            typical=tuple(map(artwork, pair.typical)),
        )
        for pair in head.confused
    )  # fmt: skip
    rows = tuple(replace(figures, name=change(figures.name)) for figures in head.per_class)
    name = change(head.name)
    methods = (replace(measured.methods[0], name=name), *measured.methods[1:])
    card = {change("key"): change("value"), "split": {"group_by": change("artist")}, "list": [change("a"), change("b")]}
    changed = replace(
        head, name=name, classes=tuple(map(change, head.classes)), per_class=rows, confused=confused, card=card
    )
    return replace(
        measured, kind=change("style"), split=change("val"), head=changed, methods=methods,
        left_out={change("reason"): 2}, encoder=replace(measured.encoder, name=change("grid")),
    )  # fmt: skip


def test_hostile_text_stays_text_wherever_it_stands():
    measured = evaluation(8, 300)
    hostile = Page(evaluation_page(with_names(measured, lambda words: words + HOSTILE)))
    plain = Page(evaluation_page(with_names(measured, lambda words: words)))
    assert [(e.tag, set(e.attributes)) for e in hostile.elements] == [
        (e.tag, set(e.attributes)) for e in plain.elements
    ]
    check_self_contained(hostile)
    check_accessible(hostile)
    shown = (
        "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>&amp;</style>\ufffd\ufffd\ufffd"
    )
    assert hostile.texts("h1") == [f"Naming the style{shown} of a work"]
