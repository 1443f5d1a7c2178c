"""``simsearch evaluate``: what it prints, the files it writes, and the sentences by which it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from labelled_works import clusters, damage, embed, fill, indexed, painted

from simsearch import open_collection
from simsearch.catalog.labelled import image_keys
from simsearch.classifier.head import folder_of
from simsearch.classifier.train import train

STYLES = ("Dawn", "Ember", "Moss", "Tide")
PNG = b"\x89PNG\r\n\x1a\n"
FEW = ("--resamples", "100")


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """A folder with a collection of 120 painted works and heads for style and genre, to be read only."""
    folder = tmp_path_factory.mktemp("works")
    painted(folder)
    indexed(folder)
    with open_collection(folder) as collection:
        train(collection, "style")
        train(collection, "genre")
    return folder


@pytest.fixture
def ask(works, command):
    """Runs ``simsearch evaluate`` on the painted works."""
    return lambda *arguments, **options: command("evaluate", *arguments, cwd=works, **options)


@pytest.fixture
def small(tmp_path):
    """A collection that a test may change: 80 works by two encoders, a head by each."""
    values = [STYLES[i // 5 % 4] for i in range(80)]
    split = ["val" if i % 5 == 4 else "train" for i in range(80)]
    collection, _ = fill(tmp_path, clusters(values, noise=2.0), {"style": values}, extra={"split": split}, name="first")
    with collection:
        embed(collection, clusters(values, noise=2.0, seed=1), "second")
        train(collection, "style")
        train(collection, "style", encoder="second")
    return tmp_path


# -- what it prints ----------------------------------------------------------------------------------------------------


def test_the_head_stands_beside_the_neighbours_the_majority_and_chance(ask):
    done = ask("--label", "style", *FEW)
    text = done.out
    assert re.fullmatch(r"style: 28 held-out works of val by 8 artists, against 9\d labelled works", done.lines[0])
    assert done.lines[1].startswith("encoder color@1 ")
    names = re.findall(r"^(head style|nearest work|10 nearest works|majority|chance) ", text, re.MULTILINE)
    assert names == ["head style", "nearest work", "10 nearest works", "majority", "chance"]
    assert re.search(r"^chance +\.250 ", text, re.MULTILINE)
    assert "calibration: ECE" in text
    assert re.search(r"^other artists only +\.\d{3} ", text, re.MULTILINE)
    assert "95 % intervals from 100 bootstrap resamples, seed 0" in text


def test_progress_and_notices_go_to_standard_error(ask):
    done = ask("--label", "artist", *FEW)
    assert "there is no head 'artist' for the encoder color, so neighbours alone are measured" in done.err
    assert "nearest work" in done.err
    assert "neighbours alone" not in done.out


def test_json_gives_one_object_a_kind(ask):
    style, genre = ask("--label", "style", "--label", "genre", "--label", "style", "--json", *FEW).records
    assert (style["kind"], genre["kind"]) == ("style", "genre")
    assert (style["split"], style["works"], style["seed"], style["resamples"]) == ("val", 28, 0, 100)
    assert 88 <= style["gallery"] <= 92  # of the 92 train works, less near-duplicates of held-out ones
    assert style["encoder"].startswith("color@1 ")
    head = style["methods"][0]
    assert list(head)[:2] == ["name", "top1"]
    value, low, high = head["top1"]
    assert low <= value <= high
    assert style["head"]["classes"] == list(STYLES)
    assert np.array(style["head"]["confusion"]).sum() == 28
    right = np.trace(style["head"]["confusion"])
    assert value == pytest.approx(right / 28, abs=1e-4)
    assert [row["same_artist"] for row in style["retrieval"]] == [True, False]


def test_figures_that_are_not_defined_are_null_in_json(ask, works, command):
    with open_collection(works) as collection:
        entry = collection.encoder_entry()
        card = folder_of(collection, entry.info) / "genre.json"
    before = card.read_text()
    card.write_text(json.dumps(json.loads(before) | {"threshold": 1.0}))
    try:
        (genre,) = ask("--label", "genre", "--json", *FEW).records
    finally:
        card.write_text(before)
    assert genre["head"]["answered"] == [0.0, 0.0, 0.0]
    assert genre["head"]["accuracy_answered"] == [None, None, None]


def test_train_is_what_the_head_remembers(ask):
    done = ask("--label", "style", "--split", "train", *FEW)
    assert "was trained on these very works" in done.err
    assert re.match(r"style: 9\d works that were trained on ", done.lines[0])


def test_where_narrows_what_is_measured(ask):
    every, some = (
        ask("--label", "style", "--json", *more, *FEW).records[0] for more in ((), ("--where", "genre = 'bars'"))
    )
    assert 0 < some["works"] < every["works"]
    assert 0 < some["gallery"] < every["gallery"]


def test_two_encoders_are_compared(small, command):
    done = command("evaluate", "--label", "style", "--compare", "first", "second", *FEW, cwd=small)
    assert done.lines[:3] == ["style: 16 works of val, held out from both", "a  first/style", "b  second/style"]
    for name in ("top-1", "macro F1", "Brier", "P@10"):
        assert re.search(rf"^{re.escape(name)} ", done.out, re.MULTILINE)
    (record,) = command(
        "evaluate", "--label", "style", "--compare", "first", "second", "--json", *FEW, cwd=small
    ).records
    assert (record["a"], record["b"], record["works"]) == ("first/style", "second/style", 16)
    assert {"figure", "a", "b", "difference", "p"} == set(record["differences"][0])


# -- what it writes ----------------------------------------------------------------------------------------------------


def test_plots_are_pictures_named_by_the_kind(ask, tmp_path):
    folder = tmp_path / "new" / "plots"
    done = ask("--label", "style", "--label", "artist", "--plots", folder, *FEW)
    assert sorted(path.name for path in folder.iterdir()) == [
        "style-confusion.png", "style-coverage.png", "style-reliability.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(PNG) for path in folder.iterdir())
    assert f"plots of style in {folder}" in done.err
    assert "no plots of artist: they show a head's probabilities" in done.err


def test_the_report_is_one_file_with_works_in_it(ask, tmp_path):
    page = tmp_path / "report.html"
    done = ask("--label", "style", "--html", page, *FEW)
    text = page.read_text(encoding="utf-8")
    assert f"report in {page}" in done.err
    assert text.lower().startswith("<!doctype html>")
    assert "data:image/png;base64," in text
    assert "data:image/jpeg;base64," in text
    assert not re.search(r"(src|href)=\"https?:", text)


def test_each_kind_gets_a_report_of_its_own(ask, tmp_path):
    ask("--label", "style", "--label", "genre", "--html", tmp_path / "report.html", *FEW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report-genre.html", "report-style.html"]


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--label", "stile"], "no work of this collection has a label 'stile'; did you mean 'style'?"),
        (["--label", "style", "--split", "tset"], "no work belongs to the part 'tset'; there are train, val"),
        (["--label", "style", "--head", "stile"], "no head 'stile' for the encoder color; did you mean 'style'?"),
        (["--label", "style", "--head", "genre"], "the head 'genre' names genre, not style"),
        (["--label", "style", "--encoder", "colr"], "no embeddings by 'colr'; did you mean 'color'?"),
        (["--label", "style", "--where", "id < 0"], "no work with a label 'style' fits --where 'id < 0'"),
        (["--label", "style", "--compare", "color", "dino"], "'dino' is neither a head for the encoder color nor"),
        (["--label", "style", "--compare", "style", "color"], "are both color/style"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(ask, arguments, says):
    done = ask(*arguments, *FEW, status=1)
    sentence = done.err.splitlines()[-1]
    assert sentence.startswith("simsearch: ")
    assert says in sentence
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing option '--label'"),
        (["--label", "style", "--label", "genre", "--head", "style"], "--head names one head"),
        (["--label", "style", "--compare", "a", "b", "--html", "x.html"], "--compare takes neither"),
        (["--label", "style", "--resamples", "0"], "0 is not in the range x>=100"),
        (["--label", "style", "--where", "styl = 'x'"], "styl"),
    ],
)
def test_wrong_usage_is_told(ask, arguments, says):
    assert says in ask(*arguments, status=2).err


def test_a_collection_without_labels_says_where_labels_come_from(tmp_path, command):
    collection, _ = fill(tmp_path, clusters([""] * 10), {})
    collection.close()
    done = command("evaluate", "--label", "style", cwd=tmp_path, status=1)
    assert done.err.splitlines()[-1].startswith(
        "simsearch: no work of this collection has a label to learn from; put an artworks.csv"
    )


def test_a_head_whose_held_out_works_are_gone_says_so(tmp_path, command):
    values = [STYLES[i % 4] for i in range(60)]
    collection, _ = fill(tmp_path, clusters(values, noise=2.0), {"style": values})
    with collection:
        head = train(collection, "style")
        ids = np.array([work.id for work in collection.catalog.all_artworks()])
        held = ids[np.isin(image_keys(collection.catalog, ids), head.held_out)]
        with collection.writer() as writer:
            writer.remove(writer.begin_run(), held.tolist())
    done = command("evaluate", "--label", "style", cwd=tmp_path, status=1)
    assert "no work of the part 'val' is left to measure the head 'style' on" in done.err


def test_nan_in_stored_embeddings_is_refused(small, command):
    damage(small, 7)
    done = command("evaluate", "--label", "style", cwd=small, status=1)
    assert done.err.splitlines()[-1].startswith("simsearch: the stored embedding of artwork 7 is damaged")


def heads(folder, encoder="first"):
    with open_collection(folder) as collection:
        return folder_of(collection, collection.encoder_entry(encoder).info)


def test_a_card_without_its_weights_is_refused(small, command):
    for path in heads(small).glob("*.safetensors"):
        path.unlink()
    done = command("evaluate", "--label", "style", cwd=small, status=1)
    assert "style.json has lost its weights" in done.err


def test_a_head_of_another_encoder_is_refused_with_the_way_out(small, command):
    for path in heads(small, "second").iterdir():
        (heads(small) / path.name).write_bytes(path.read_bytes())
    done = command("evaluate", "--label", "style", cwd=small, status=1)
    assert "the head 'style' was trained on embeddings by second@1" in done.err
    assert "run `simsearch train --label style` again" in done.err


@pytest.mark.parametrize("option", ["--html", "--plots"])
def test_a_place_that_cannot_be_written_is_named_after_the_figures(ask, tmp_path, option):
    (tmp_path / "file").write_text("")
    done = ask("--label", "style", option, tmp_path / "file" / "report", *FEW, status=1)
    sentence = done.err.splitlines()[-1]
    assert sentence.startswith(f"simsearch: {tmp_path / 'file'}")
    assert "cannot be written: Not a directory" in sentence
    assert "head style" in done.out


def test_help_tells_every_option(command, tmp_path):
    text = command("evaluate", "--help", cwd=tmp_path).out
    for option in ("--label", "--split", "--head", "--encoder", "--where", "--compare", "--html", "--plots", "--json",
                   "--resamples", "--seed", "--collection"):  # fmt: skip
        assert option in text
    assert Path("/") not in [Path(word) for word in text.split()]
