"""`simsearch.show.review`: the sheet shows what an audit found, and gives the CSV that it is applied from."""

import csv
import html as markup
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from evaluations import work
from html_page import Page, check_accessible, check_self_contained

from simsearch.figures import REVIEW_COLUMNS, Finding
from simsearch.records import Artwork, Hit, Label
from simsearch.show.numbers import per_cent
from simsearch.show.review import TITLES, review_page
from simsearch.show.review_file import read_review, review_text

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>&amp;</style>\x1b\u202e\udcff"


def hits(*styles, folder=None, first=50):
    return tuple(
        Hit(rank, round(0.9 - rank / 10, 6), None, work(first + rank, style, folder))
        for rank, style in enumerate(styles, 1)
    )


def findings(folder=None):
    return [
        Finding("duplicate", work(1, "Moss", folder), "style", "Moss", "Tide", 1.0, None, None,
                hits("Tide", folder=folder), "the same bytes"),
        Finding("label", work(2, "Moss", folder), "style", "Moss", "Dawn", 0.95, 0.9512, 0.0123,
                hits("Dawn", "Dawn", "Dawn", folder=folder, first=60)),
        Finding("outlier", work(3, "Tide", folder), "style", "Tide", None, 0.725, None, None,
                hits("Ember", "Tide", folder=folder, first=70)),
        Finding("label", work(4, "Tide", folder), "style", None, "Dawn", 0.8, 0.75, None),
        Finding("label", work(5, "bars", folder), "genre", "bars", "field", 0.7, 0.7, 0.25),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(review_page(findings(tmp_path_factory.mktemp("works"))))


def item(page, place):
    """The list item of the finding at this place of the list that was given."""
    (found,) = [e for e in page.all("li", "finding") if e.attributes["id"] == f"f{place}"]
    return found


# -- findings as records -----------------------------------------------------------------------------------------------


def test_a_finding_is_plain_values_with_its_evidence_by_id():
    said = findings()[1].to_dict()
    assert (said["probability"], said["own_probability"], said["score"]) == (0.9512, 0.0123, 0.95)
    assert said["evidence"][0] == {"id": 61, "score": 0.8, "title": "Work 61", "style": "Dawn"}


def test_a_finding_is_a_row_with_two_columns_to_fill_in():
    assert tuple(findings()[1].to_row()) == REVIEW_COLUMNS
    assert tuple(findings()[1].to_row().values()) == (
        "2", "folder:/art", "a/2.png", "Work 2", "Artist 2", "style", "label", "Moss", "Dawn", "0.9512", "0.9500",
        "", "",
    )  # fmt: skip
    assert findings()[2].to_row()["suggestion"] == findings()[3].to_row()["value"] == ""


# -- the sheet ---------------------------------------------------------------------------------------------------------


def test_findings_are_grouped_by_reason_and_keep_their_order(page):
    assert page.texts("h1") == ["5 labels to look at again"]
    assert page.texts("h2") == [TITLES["label"], TITLES["outlier"], TITLES["duplicate"]]
    shown = {
        e.attributes["id"]: [x.attributes["id"] for x in page.all("li", "finding", inside=e)]
        for e in page.all("section")
    }
    assert shown == {"label": ["f2", "f4", "f5"], "outlier": ["f3"], "duplicate": ["f1"]}
    assert [e.text for e in page.all("li", inside=page.one("nav"))] == [
        f"{TITLES['label']} 3", f"{TITLES['outlier']} 1", f"{TITLES['duplicate']} 1",
    ]  # fmt: skip


def test_a_finding_shows_the_work_its_label_the_suggestion_and_both_probabilities(page):
    found = item(page, 2)
    assert page.one("h3", inside=found).text == "Work 2"
    assert page.one("p", "artist", inside=page.one(kind="case", inside=found)).text == "Artist 2"
    assert page.texts("dt", inside=found) == ["style now", "suggested"]
    assert page.texts("dd", inside=found) == [f"Moss {per_cent(0.0123)}", f"Dawn {per_cent(0.9512)}"]
    assert [e.attributes["style"] for e in page.all("i", inside=found)] == ["--v:1.23%", "--v:95.12%"]


def test_the_works_that_speak_for_it_stand_beside_it(page):
    evidence = page.one("div", "evidence", inside=item(page, 2))
    assert page.texts("h4", inside=evidence) == ["nearest works labelled Dawn"]
    assert page.texts("p", "title", inside=evidence) == ["Work 61", "Work 62", "Work 63"]
    assert page.texts("p", "kind", inside=evidence) == ["Dawn"] * 3
    assert page.texts("p", "measure", inside=evidence) == ["cosine 0.80", "cosine 0.70", "cosine 0.60"]
    assert page.texts("h4", inside=item(page, 1)) == ["the same picture"]


def test_pictures_are_shown_with_their_names(page):
    alts = [e.attributes["alt"] for e in page.all("img", inside=item(page, 2))]
    assert alts == [f"Work {n}, by Artist {n}" for n in (2, 61, 62, 63)]


def test_an_outlier_says_how_suspicious_it_is_and_a_note_is_shown(page):
    assert page.texts("p", "why", inside=item(page, 3)) == ["suspicion 0.72 of 1"]
    assert page.texts("p", "why", inside=item(page, 1)) == ["the same bytes"]
    assert page.texts("dt", inside=item(page, 3)) == ["style now"]


def test_a_work_without_the_label_says_none(page):
    assert page.texts("dd", inside=item(page, 4)) == ["none", "Dawn 75.0 %"]


def test_how_to_accept_is_said_with_the_name_of_the_file():
    steps = Page(review_page(findings(), csv_name="my review.csv")).texts("ol", "steps")[0]
    assert "simsearch audit --csv my review.csv writes a line for each finding. Write yes under accept" in steps
    assert "Then run simsearch audit --apply my review.csv." in steps


def test_missing_images_leave_a_box_that_says_so():
    page = Page(review_page(findings()))
    assert page.texts("span", "missing") == ["image not reachable"] * 11
    assert page.all("img") == []


def test_each_file_is_read_once(tmp_path):
    seen = []
    review_page([*findings(tmp_path), *findings(tmp_path)], lambda shown: seen.append(shown.path))
    assert len(seen) == len(set(seen)) == 11


def test_without_a_script_nothing_is_offered_that_would_do_nothing(page):
    offered = [*page.all("fieldset"), *page.all("div", "bar-below"), *page.all("span", "scripted")]
    assert len(offered) == 5 + 1 + 1
    assert all("hidden" in e.attributes for e in offered)
    assert all(any(a in offered for a in e.above) for tag in ("input", "button") for e in page.all(tag))


def test_an_audit_without_findings_says_so():
    page = Page(review_page([]))
    assert page.texts("h1") == ["No label to look at again"]
    assert page.all("script") == page.all("section") == []
    check_self_contained(page)
    check_accessible(page)


def test_the_sheet_is_accessible_and_loads_nothing(page):
    check_self_contained(page)
    check_accessible(page)


def changed(finding, change):
    """The finding with every text that came from outside changed."""

    def artwork(shown):
        kinds = {"style": change("style"), "artist": "artist"}
        labels = tuple(Label(kinds[label.kind], change(label.value)) for label in shown.labels)
        return replace(shown, title=change(shown.title), source_id=change("i"), labels=labels, date=change("d"))

    evidence = tuple(replace(hit, artwork=artwork(hit.artwork)) for hit in finding.evidence)
    return replace(
        finding, artwork=artwork(finding.artwork), kind=change(finding.kind), note=change("note"), evidence=evidence,
        value=finding.value and change(finding.value), suggestion=finding.suggestion and change(finding.suggestion),
    )  # fmt: skip


def test_hostile_text_stays_text_wherever_it_stands():
    hostile, plain = (
        Page(review_page([changed(finding, change) for finding in findings()], csv_name=change("review.csv")))
        for change in (lambda words: words + HOSTILE, lambda words: words)
    )
    assert [(e.tag, set(e.attributes)) for e in hostile.elements] == [
        (e.tag, set(e.attributes)) for e in plain.elements
    ]
    check_self_contained(hostile)
    check_accessible(hostile)


# -- deciding on the page ----------------------------------------------------------------------------------------------


def test_there_is_a_choice_for_each_thing_that_can_be_decided(page):
    choices = {
        n: [e.attributes["value"] for e in page.all("input", inside=item(page, n)) if e.attributes["type"] == "radio"]
        for n in range(1, 6)
    }
    assert choices == {n: ["no", "other"] if n == 3 else ["no", "yes", "other"] for n in range(1, 6)}
    assert page.texts("label", inside=item(page, 2)) == ["keep Moss", "change to Dawn", "another:"]
    lists = {e.attributes["id"]: page.texts("option", inside=e) for e in page.all("datalist")}
    fields = {
        n: e.attributes["list"]
        for n in (2, 5)
        for e in page.all("input", inside=item(page, n))
        if "list" in e.attributes
    }
    assert lists[fields[2]] == ["Dawn", "Ember", "Moss", "Tide"]
    assert lists[fields[5]] == ["bars", "field"]


def test_the_page_carries_each_line_of_the_csv_but_for_the_answers(page):
    lines = [page.one("div", "bar-below").attributes["data-head"]]
    lines += [item(page, n).attributes["data-row"] + ",," for n in range(1, 6)]
    assert "\r\n".join(lines) + "\r\n" == review_text(findings())


DECIDE = """
const choose = (n, value) => document.querySelector(`#f${n} input[value=${value}]`).click();
const write = (n, words) => {
  const field = document.querySelector(`#f${n} input[type=text]`);
  field.value = words;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};
choose(1, "yes"); choose(2, "no"); write(3, 'Mist, "grey"\\nand wet'); write(4, " =1+1 "); choose(5, "other");
const out = document.createElement("pre");
out.id = "out";
out.textContent = JSON.stringify([review(), said.textContent]);
document.body.append(out);
"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_what_is_decided_in_a_browser_comes_out_as_the_same_csv_filled_in(tmp_path):
    """The page's own script, with a policy that also lets in the test's."""
    given = findings()
    given[3] = replace(given[3], artwork=Artwork('=a, "b"', "c\r\nd", 4, title="é, <b>&amp;\n\"'"))
    html = review_page(given)
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    html = html.replace("</body>", f"<script>{DECIDE}</script></body>")
    (tmp_path / "review.html").write_text(html, encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    address = (tmp_path / "review.html").as_uri()
    done = subprocess.run([BROWSER, *options, address], capture_output=True, check=True, timeout=120)
    (found,) = re.findall(r'<pre id="out">(.*?)</pre>', done.stdout.decode(), re.DOTALL)
    text, status = json.loads(markup.unescape(found))
    assert status == "4 of 5 decided, 3 to change"
    want = list(csv.reader(io.StringIO(review_text(given), newline="")))
    answers = {1: ("yes", ""), 2: ("no", ""), 3: ("", 'Mist, "grey"and wet'), 4: ("", "'=1+1")}
    for n, answer in answers.items():  # a field of one line drops the line break that is pasted into it
        want[n][-2:] = answer
    assert list(csv.reader(io.StringIO(text, newline=""))) == want
    (tmp_path / "review.csv").write_bytes(text.encode("utf-8-sig"))
    rows = read_review(tmp_path / "review.csv")
    assert [row.wanted for row in rows] == ["Tide", None, 'Mist, "grey"and wet', "=1+1", None]
    assert (rows[3].source, rows[3].source_id) == ('=a, "b"', "c\r\nd")
