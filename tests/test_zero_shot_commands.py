"""``simsearch classify --labels`` and ``simsearch evaluate --zero-shot``: what they say, by value."""

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, stripes
from flag_words import WORDS, add_words
from labelled_works import write_table
from scipy.stats import binomtest
from sklearn.metrics import f1_score, top_k_accuracy_score

from simsearch import Options, index_folders, open_collection
from simsearch.classifier.evaluate import evaluate
from simsearch.classifier.head import folder_of
from simsearch.classifier.measured import head_for, measured
from simsearch.classifier.train import train
from simsearch.classifier.zero_shot import Wording
from simsearch.cli import main
from simsearch.errors import LabelError, QueryError
from simsearch.show.evaluation_page import evaluation_page

CLASSES = ("blue", "cyan", "green", "magenta", "red", "yellow")
EACH = 20
FEW = {"resamples": 100}
PLAIN = ("{}",)
SHOW_MODULES = """
import sys
from simsearch.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_network):
    """A model folder that knows flags and the names of their colours."""
    return add_words(tiny_network(tmp_path_factory.mktemp("models") / "words", "words"))


@pytest.fixture(scope="module")
def works(tmp_path_factory, model):
    """A folder with 120 flags, half of each in the colour that its style is, by two encoders; a head by each."""
    folder = tmp_path_factory.mktemp("works")
    (folder / "art").mkdir()
    random = np.random.default_rng(5)
    rows = []
    for i in range(EACH * len(CLASSES)):
        style = CLASSES[i % len(CLASSES)]
        code = WORDS[style] * 2 + "".join(random.choice(list(COLOURS), 2))
        stripes(code).save(folder / "art" / f"{i:03}_{code}.png")
        split = "val" if i // len(CLASSES) % 3 == 2 else "train"
        rows.append({"path": f"{i:03}_{code}.png", "title": f"Flag {i}", "style": style, "split": split})
    write_table(folder / "art" / "artworks.csv", rows)
    with open_collection(folder, write=True) as collection:
        for encoder in ("color", str(model)):
            index_folders(collection, [folder / "art"], Options(encoder=encoder))
        for encoder in ("color", "words"):
            train(collection, "style", encoder=encoder)
    return folder


@pytest.fixture
def opened(works):
    with open_collection(works) as collection:
        collection.said = []
        collection.notice = collection.said.append
        yield collection


@pytest.fixture
def run(capsys, works, monkeypatch):
    """Runs the command in this process, in the folder of the flags; (exit status, standard output, standard error)."""
    monkeypatch.chdir(works)
    monkeypatch.delenv("SIMSEARCH_COLLECTION", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def by_hand(opened, labels=CLASSES):
    """(true, cosines (n, labels)) of the held-out flags, from the letters of their names."""
    held = [work for work in opened.catalog.all_artworks() if work.extra["split"] == "val"]
    flags = [[COLOURS[letter] for letter in work.source_id[4:8]] for work in held]
    shown = (np.array(flags) // 255 * 2 - 1).sum(axis=1)  # the same as the sum over the 16 cells, but for a factor
    words = np.array([COLOURS[WORDS[label]] for label in labels]) // 255 * 2 - 1
    return np.array([work.style for work in held]), shown @ words.T / 12


def method(done, name="zero-shot"):
    return next(m for m in done.methods if m.name == name).figures


def cells(line):
    """The cells of a line of a table."""
    return [cell.strip() for cell in re.split(r"  +", line) if cell.strip()]


# -- classify ----------------------------------------------------------------------------------------------------------


def test_an_image_is_named_among_the_labels_that_were_given(run, tmp_path):
    stripes("rrrr").save(tmp_path / "flag.png")
    status, out, _ = run("classify", tmp_path / "flag.png", "--labels", "red, blue,yellow", "--top", 2)
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == str(tmp_path / "flag.png")
    # a third of the channels differs between red and yellow, two thirds between red and blue
    red, yellow, _ = np.exp([10, 10 / 3, -10 / 3]) / np.exp([10, 10 / 3, -10 / 3]).sum()
    assert [cells(line) for line in lines[2:4]] == [
        ["label", "red", "over 99 %"], ["label", "yellow", "0 %"],
    ]  # fmt: skip
    assert (red > 0.995, yellow < 0.005) == (True, True)
    assert lines[-1] == "by words alone: which of the labels fits best, not whether any of them does"


def test_json_says_that_no_head_and_no_neighbour_was_asked(run, works):
    image = next((works / "art").glob("004_rr*.png"))
    _, out, _ = run("classify", image, "--labels", "red,blue", "--label", "style", "--template", "{}", "--json")
    (said,) = [json.loads(line) for line in out.splitlines()]
    share = said.pop("probability")
    assert said == {
        "image": str(image), "kind": "style", "value": "red", "sure": True, "by": "zero-shot", "neighbours": [],
    }  # fmt: skip
    assert 0.5 < share <= 1


def test_csv_has_a_line_for_each_image_and_label(run, works):
    images = sorted((works / "art").glob("*.png"))[:2]
    _, out, _ = run("classify", *images, "--labels", "blue,cyan", "--top", 2, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(r["image"], r["by"]) for r in rows] == [(str(image), "zero-shot") for image in images for _ in range(2)]
    assert sum(float(r["share"]) for r in rows[:2]) == pytest.approx(1, abs=1e-3)


def test_nothing_is_stored(run, works, opened):
    before = (works / ".simsearch" / "catalog.db").read_bytes()
    run("classify", 1, "--labels", "red,blue")
    assert (works / ".simsearch" / "catalog.db").read_bytes() == before


def test_a_named_encoder_answers_where_there_is_no_collection(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stripes("cccc").save(tmp_path / "flag.png")
    status, out, err = run("classify", "flag.png", "--labels", "red,cyan", "--encoder", model, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["value"] == "cyan"
    status, _, err = run("classify", "flag.png", "--labels", "red,cyan")
    assert status == 1
    assert "there is no collection" in err
    assert "--encoder clip:ViT-B-32/laion2b_s34b_b79k" in err


def test_of_several_images_those_that_cannot_be_read_are_said(run, works):
    status, out, err = run("classify", "nothing.png", 1, "--labels", "red,blue", "--json")
    assert status == 3
    assert len(out.splitlines()) == 1
    assert "nothing.png" in err


def test_a_model_folder_answers_without_torch(works):
    asked = [sys.executable, "-c", SHOW_MODULES, "classify", "1", "--labels", "red,blue", "--json"]
    done = subprocess.run(asked, cwd=works, capture_output=True, text=True, check=True, encoding="utf-8")
    assert json.loads(done.stdout)["by"] == "zero-shot"
    imported = set(done.stderr.splitlines()[-1].split())
    assert "tokenizers" in imported
    assert not imported & {"torch", "open_clip", "timm", "pandas", "faiss", "onnx"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "red,blue"], "stores nothing; name an image"),
        ([1, "--labels", "red,blue", "--by", "head"], "--by is for heads and neighbours"),
        ([1, "--labels", "red,blue", "--voters", 3], "--voters is for heads and neighbours"),
        ([1, "--labels", "red,blue", "--label", "style", "--label", "genre"], "give one --label with them"),
        (["-", "-", "--labels", "red,blue"], "use - once"),
        ([1, "--template", "a {}"], "give --labels too"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(run, arguments, words):
    status, out, err = run("classify", *arguments)
    assert (status, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "red"], "two labels or more"),
        (["--labels", ""], "two labels or more, there is none"),
        (["--labels", "red,,blue"], "a label is empty"),
        (["--labels", "red,Red"], "stands there twice"),
        (["--labels", "red,blue", "--template", "a flag"], "needs {} once"),
        (["--labels", "red,blue", "--encoder", "color"], "color knows pictures only, no words"),
    ],
)
def test_what_is_no_choice_is_refused_in_a_sentence(run, arguments, words):
    status, out, err = run("classify", 1, *arguments)
    assert (status, out) == (1, "")
    assert words in err
    assert len(err.splitlines()) == 1


# -- evaluate, by value ------------------------------------------------------------------------------------------------


def test_zero_shot_has_the_figures_that_are_worked_out_by_hand(opened):
    done = evaluate(opened, "style", encoder="words", zero_shot=Wording((), templates=PLAIN), **FEW)
    true, cosines = by_hand(opened)
    guess = np.array(CLASSES)[cosines.argmax(axis=1)]
    assert [m.name for m in done.methods][:3] == ["style", "zero-shot", "nearest work"]
    found = method(done)
    assert 0.3 < found["top1"].value < 1
    assert found["top1"].value == pytest.approx((guess == true).mean())
    assert found["macro_f1"].value == pytest.approx(f1_score(true, guess, average="macro", zero_division=0))
    ranked = cosines - 1e-9 * np.arange(len(CLASSES))  # of equal ones the first by name
    assert found["top5"].value == pytest.approx(top_k_accuracy_score(true, ranked, k=5, labels=CLASSES))
    assert all(figure.low <= figure.value <= figure.high for figure in found.values())


def test_the_head_is_tested_against_zero_shot_on_the_same_works(opened):
    done = evaluate(opened, "style", encoder="words", zero_shot=Wording((), templates=PLAIN), **FEW)
    true, cosines = by_hand(opened)
    entry = opened.encoder_entry("words")
    on = measured(opened, "style", entry, head_for(opened, entry, "style"))
    head = np.array(on.classes)[on.probabilities().argmax(axis=1)] == true
    words = np.array(CLASSES)[cosines.argmax(axis=1)] == true
    against = done.zero_shot.against_head
    assert (against.a, against.b, against.works) == ("words/style", "words/zero-shot", len(true))
    assert (against.only_a, against.only_b) == ((head & ~words).sum(), (words & ~head).sum())
    top1, f1, top5, brier = against.differences
    assert [d.name for d in (top1, f1, top5, brier)] == ["top1", "macro_f1", "top5", "Brier"]
    assert top1.difference.value == pytest.approx(words.mean() - head.mean())
    assert top1.p == pytest.approx(binomtest(int((head & ~words).sum()), int((head ^ words).sum())).pvalue)
    for difference in (top1, f1, top5):
        assert difference.a == method(done, "style")[difference.name]
        assert difference.b == method(done)[difference.name]
    shares = np.exp(10 * cosines) / np.exp(10 * cosines).sum(axis=1, keepdims=True)
    expected = ((shares - (true[:, None] == CLASSES)) ** 2).sum(axis=1).mean()
    assert brier.b.value == pytest.approx(expected, abs=1e-3)


def test_words_of_one_encoder_are_held_against_the_head_of_another(opened):
    done = evaluate(opened, "style", encoder="color", zero_shot=Wording((), templates=PLAIN), **FEW)
    true, cosines = by_hand(opened)
    assert done.encoder.name == "color"
    assert done.zero_shot.encoder.name == "words"
    assert (done.zero_shot.against_head.a, done.zero_shot.against_head.b) == ("color/style", "words/zero-shot")
    assert method(done)["top1"].value == pytest.approx((np.array(CLASSES)[cosines.argmax(axis=1)] == true).mean())
    alone = evaluate(opened, "style", encoder="color", **FEW)
    assert method(done, "style") == method(alone, "style")
    assert alone.zero_shot is None


def test_labels_that_are_named_are_chosen_among_and_others_are_wrong(opened):
    labels = ("RED", "blue", "white")
    done = evaluate(opened, "style", encoder="words", zero_shot=Wording.of(labels, templates=PLAIN), **FEW)
    true, cosines = by_hand(opened, [label.lower() for label in labels])
    # between labels that fit alike the one that comes first among the classes, and then what is no class
    order = [1, 0, 2]
    guess = np.array(["blue", "red", "white"])[cosines[:, order].argmax(axis=1)]
    assert method(done)["top1"].value == pytest.approx((guess == true).mean())
    assert "top5" not in method(done)
    assert [d.name for d in done.zero_shot.against_head.differences] == ["top1", "macro_f1", "Brier"]
    assert done.zero_shot.labels == labels
    assert done.zero_shot.unnamed == np.isin(true, ["red", "blue"], invert=True).sum()
    assert [s for s in opened.said if "such an answer is wrong" in s] == [
        "no work that is measured on has the style white: such an answer is wrong"
    ]


def test_without_a_head_the_classes_of_the_works_are_chosen_among(opened):
    folder = folder_of(opened, opened.encoder_entry("words").info)
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        bare = evaluate(opened, "style", encoder="words", zero_shot=Wording((), templates=PLAIN), **FEW)
    finally:
        aside.rename(folder)
    assert (bare.head, bare.zero_shot.against_head, bare.zero_shot.labels) == (None, None, CLASSES)
    assert [m.name for m in bare.methods][:2] == ["zero-shot", "nearest work"]


def test_labels_none_of_which_is_a_class_are_refused(opened):
    with pytest.raises(QueryError, match=r"none of the labels is a style .* such as blue, cyan, green, magenta, red"):
        evaluate(opened, "style", encoder="words", zero_shot=Wording.of(["white", "black"]), **FEW)


def test_works_that_the_words_encoder_has_not_embedded_are_left_out_for_all(works, tmp_path):
    folder = Path(shutil.copytree(works, tmp_path / "copy"))
    wording = Wording((), templates=PLAIN)
    with open_collection(folder) as collection:
        full = evaluate(collection, "style", encoder="color", zero_shot=wording, **FEW)
        words = collection.encoder_entry("words").number
        held = [work.id for work in collection.catalog.all_artworks() if work.extra["split"] == "val"]
        digests = [collection.catalog.digest(id) for id in held]
        digest = next(digest for digest in digests if digests.count(digest) == 1)  # some flags are the same picture
    forget(folder, "encoder = ? AND digest = ?", words, digest)
    with open_collection(folder) as collection:
        done = evaluate(collection, "style", encoder="color", zero_shot=wording, **FEW)
    assert done.works == done.zero_shot.against_head.works == full.works - 1
    assert done.left_out == full.left_out | {"that words has not embedded": 1}
    forget(folder, "encoder = ?", words)
    with (
        open_collection(folder) as collection,
        pytest.raises(LabelError, match="words, which reads words, has embedded none"),
    ):
        evaluate(collection, "style", encoder="color", zero_shot=wording, **FEW)


def forget(folder, which, *values):
    """Takes embeddings out of a catalog."""
    with sqlite3.connect(folder / ".simsearch" / "catalog.db") as db:
        db.execute(f"DELETE FROM embedding WHERE {which}", values)
    db.close()


# -- evaluate, what is shown -------------------------------------------------------------------------------------------


def test_zero_shot_is_a_row_beside_the_others_with_a_test_against_the_head(run):
    status, out, _ = run(
        "evaluate", "--label", "style", "--encoder", "words", "--zero-shot", "--template", "{}", "--resamples", 100
    )
    lines = out.splitlines()
    assert status == 0
    names = re.findall(r"^(head style|zero-shot|nearest work|10 nearest works|majority|chance)  ", out, re.MULTILINE)
    assert names == ["head style", "zero-shot", "nearest work", "10 nearest works", "majority", "chance"]
    assert "; the nearest work alone " in lines[2]
    assert re.search(r", words alone \d+\.\d %, ", lines[2])
    assert "zero-shot by words: 6 labels, each in 1 sentence; softmax of 10 x cosine" in lines
    assert re.search(r"^only the head is right on \d+ works, only zero-shot on \d+; ", out, re.MULTILINE)
    assert "Brier" in out


def test_json_carries_the_words_and_the_test(run):
    _, out, _ = run(
        "evaluate", "--label", "style", "--encoder", "words", "--labels", "red,blue", "--resamples", 100, "--json"
    )
    said = json.loads(out)
    assert [m["name"] for m in said["methods"]][1] == "zero-shot"
    found = said["zero_shot"]
    assert found["labels"] == ["red", "blue"]
    assert found["encoder"].startswith("words@1 ")
    assert "a painting in the style of {}" in found["templates"]
    assert found["unnamed"] == 24
    assert found["against_head"]["a"] == "words/style"
    assert {d["figure"] for d in found["against_head"]["differences"]} == {"top1", "macro_f1", "Brier"}


def test_the_page_tells_the_labels_and_the_test(opened):
    done = evaluate(opened, "style", encoder="words", zero_shot=Wording((), templates=PLAIN), **FEW)
    page = evaluation_page(done)
    assert "Zero-shot by words: 6 labels, each in 1 sentence; softmax of 10 x cosine." in page
    assert "nly the head is right on" in page
    assert "blue, cyan, green, magenta, red, yellow" in page
    assert "ero-shot by" not in evaluation_page(evaluate(opened, "style", encoder="words", **FEW))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--template", "{}"], "give --zero-shot or --labels too"),
        (["--zero-shot", "--compare", "color", "words"], "--compare takes no zero-shot"),
        (["--labels", "red,blue", "--label", "genre"], "--labels are of one kind"),
    ],
)
def test_evaluating_what_does_not_go_together_is_a_usage_error(run, arguments, words):
    status, out, err = run("evaluate", "--label", "style", *arguments)
    assert (status, out) == (2, "")
    assert words in err


def test_a_collection_without_words_names_the_command_that_adds_them(run, flags, monkeypatch):
    monkeypatch.chdir(flags.folder)
    for arguments in (["evaluate", "--label", "style", "--zero-shot"], ["classify", 1, "--labels", "red,blue"]):
        status, _, err = run(*arguments)
        assert status == 1
        assert "`simsearch index --encoder clip:ViT-B-32/laion2b_s34b_b79k`" in err
