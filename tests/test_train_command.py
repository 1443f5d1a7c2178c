"""``simsearch train`` as a process: what it prints, what it leaves, and how it refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from io import StringIO

import pytest
from filelock import FileLock
from labelled_works import clusters, damage, embed, fill, indexed, painted

from simsearch import open_collection
from simsearch.classifier.groups import NEAR_DUPLICATE
from simsearch.classifier.head import folder_of, head_of, names_of
from simsearch.classifier.prepare import SplitChoices
from simsearch.classifier.train import BALANCES, THRESHOLD
from simsearch.commands import train as command_module
from simsearch.show.trained import show_trained

TRAIN = [sys.executable, "-m", "simsearch", "train"]
STYLES = ["Dawn", "Ember", "Moss", "Tide"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a collection of 120 painted works, to be copied."""
    folder = tmp_path_factory.mktemp("painted")
    painted(folder)
    return indexed(folder)


@pytest.fixture
def place(original, tmp_path):
    """A copy to train in."""
    shutil.copytree(original, tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def made_up(tmp_path):
    """Makes a collection of made-up embeddings in a folder of its own; the folder."""

    def make(labels, **options):
        values = next(iter(labels.values()))
        collection, _ = fill(tmp_path / "made up", clusters(values, noise=1.0), labels, **options)
        collection.close()
        return tmp_path / "made up"

    return make


def heads(folder):
    """Names of the heads, by encoder."""
    with open_collection(folder) as collection:
        return {e.info.name: names_of(collection, e) for e in collection.encoders() if names_of(collection, e)}


def block(lines):
    """The printed lines by their first words."""
    return {line[:11].strip(): line[12:] for line in lines}


# -- what it prints ----------------------------------------------------------------------------------------------------


def test_a_head_is_trained_saved_and_told_in_a_few_lines(place, command):
    done = command("train", "--label", "style", cwd=place)
    with open_collection(place) as collection:
        entry = collection.encoder_entry()
        head = head_of(collection, entry, "style")
        path = folder_of(collection, entry.info) / "style.json"
    said, works = block(done.lines), head.card["works"]
    assert list(said) == ["head", "encoder", "trained on", "held out", "left out", "top-1", "macro F1", "saved", "now"]
    assert said["head"] == "style (style), 4 classes"
    assert said["encoder"] == "color@1, 432 numbers"
    assert said["trained on"] == f"{works['trained_on']} works"
    assert said["held out"] == "28 works, by the published split"
    assert said["left out"] == "1 work with a near-duplicate among those held out"
    assert works["trained_on"] + works["held_out"] + 1 == 120
    value, low, high = (f"{number:.3f}".removeprefix("0") for number in head.card["held_out_figures"]["top1"])
    assert said["top-1"] == f"{value} [{low}-{high}], majority .250, chance .250"
    assert head.card["held_out_figures"]["top1"][0] > 0.6
    assert said["saved"] == str(path)
    assert said["now"] == "simsearch evaluate --label style, simsearch classify IMAGE"
    assert done.err.splitlines() == ["comparing works by color", "choosing the penalty", "fitting the head"]


def test_several_labels_make_several_heads(place, command):
    done = command(
        "train",
        "--label",
        "style",
        "--label",
        "genre",
        "--label",
        "style",
        "--split-by",
        "none",
        "--seed",
        "3",
        cwd=place,
    )
    first, second = done.out.split("\n\n")
    assert block(first.splitlines())["head"] == "style (style), 4 classes"
    assert block(second.splitlines())["head"] == "genre (genre), 3 classes"
    assert block(second.splitlines())["held out"] == "24 works, 20% drawn with seed 3"
    assert heads(place) == {"color": ["genre", "style"]}
    assert done.err.count("comparing works by color") == 1, "near-duplicates are looked for once"


def test_the_card_as_json(place, command):
    done = command("train", "--label", "style", "--label", "artist", "--json", cwd=place)
    style, artist = done.records
    assert (style["kind"], style["classes"], artist["kind"]) == ("style", STYLES, "artist")
    saved = json.loads((place / ".simsearch" / "heads" / "color" / "style.json").read_text(encoding="utf-8"))
    assert {key: value for key, value in saved.items() if key != "weights"} == style
    assert style["choices"]["share"] == SplitChoices().share


def test_the_options_reach_the_head(place, command):
    (place / "map.csv").write_text("from,to\nTide,Sea\nMoss,\n")
    (head,) = command(
        "train", "--label", "style", "--name", "sea-or-not", "--map", "map.csv", "--drop", "Dawn", "--where",
        "genre != 'field'", "--group-by", "artist", "--held-out", "0.4", "--min-images", "3", "--cap", "14",
        "--near-duplicates", "0.99", "--balance", "weights", "--pseudo-label", "0.9", "--threshold", "0.7",
        "--seed", "5", "--encoder", "color", "--collection", place, "--json", cwd=place,
    ).records  # fmt: skip
    assert head["classes"] == ["Ember", "Sea"]
    assert max(head["works"]["of_class"].values()) <= 14
    assert head["choices"] == {
        "where": "genre != 'field'", "split_by": "auto", "near_duplicate": 0.99, "balance": "weights",
        "pseudo_label": 0.9, "threshold": 0.7, "merge": {"Tide": "Sea", "Moss": ""}, "drop": ["Dawn"], "min_images": 3,
        "cap": 14, "official": True, "share": 0.4, "group_by": "artist", "seed": 5,
    }  # fmt: skip
    assert heads(place) == {"color": ["sea-or-not"]}


def test_a_head_of_another_name_or_encoder_is_told_how_to_ask(tmp_path, command):
    values = STYLES * 20
    collection, _ = fill(tmp_path, clusters(values, noise=1.0), {"style": values})
    with collection:
        embed(collection, clusters(values, noise=1.0, seed=4), "other")
    done = command("train", "--label", "style", "--name", "mine", "--encoder", "other", cwd=tmp_path)
    assert block(done.lines)["now"] == (
        "simsearch evaluate --label style --head mine --encoder other, simsearch classify IMAGE --encoder other"
    )
    assert command(
        "evaluate", *["--label", "style", "--head", "mine", "--encoder", "other", "--json"], cwd=tmp_path
    ).records
    assert heads(tmp_path) == {"other": ["mine"]}


def test_what_a_head_is_told_to_be(snapshot):
    card = {
        "name": "style-artists", "kind": "style", "classes": ["a"] * 16,
        "encoder": {"name": "dinov2-small", "revision": "2", "dim": 384},
        "works": {"trained_on": 17_204, "held_out": 4_410, "left_out": {
            "of classes that were dropped": 1, "by an unknown artist": 1_203,
            "with a near-duplicate among those held out": 61, "of classes with fewer than 20 works to train on": 1,
        }},
        "split": {"official": False, "share": 0.2, "seed": 7, "group_by": "artist"},
        "held_out_figures": {"top1": [0.62, 0.606, 0.634], "macro_f1": [0.6, 0.58, 0.61], "majority": 0.0714,
                             "chance": 0.0625},
        "pseudo_labels": {"threshold": 0.9, "added": 1_310, "of": 4_000, "kept": True, "macro_f1_tune": [0.6, 0.61],
                          "macro_f1_held_out": [0.598, 0.6]},
    }  # fmt: skip
    out = StringIO()
    show_trained(card, "/pictures/.simsearch/heads/dinov2-small/style-artists.json", out)
    not_kept = {"pseudo_labels": {**card["pseudo_labels"], "kept": False}}
    none = {"pseudo_labels": {**card["pseudo_labels"], "added": 0, "kept": False}}
    for change in (not_kept, none):
        lines = StringIO()
        show_trained(card | change, "-", lines)
        out.write(next(line for line in lines.getvalue().splitlines(keepends=True) if line.startswith("self-taught")))
    snapshot("trained.txt", out.getvalue())


def test_a_name_cannot_command_the_terminal():
    out = StringIO()
    card = {
        "name": "x", "kind": "style", "classes": ["a", "b"], "encoder": {"name": "e\x1b[2J", "revision": "1", "dim": 2},
        "works": {"trained_on": 1, "held_out": 1, "left_out": {}}, "split": {"official": True}, "pseudo_labels": None,
        "held_out_figures": {"top1": [1, 1, 1], "macro_f1": [1, 1, 1], "majority": 0.5, "chance": 0.5},
    }  # fmt: skip
    show_trained(card, "a\nb\x1b[31m", out)
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 8


def test_the_constants_of_the_command_are_those_of_the_library():
    assert command_module.NEAR_DUPLICATE == NEAR_DUPLICATE
    assert command_module.THRESHOLD == THRESHOLD
    assert SplitChoices().share == command_module.SHARE
    balance = next(option for option in command_module.train.params if option.name == "balance")
    assert tuple(balance.type.choices) == BALANCES


# -- what it refuses ---------------------------------------------------------------------------------------------------


def refused(command, folder, *arguments, status=1):
    """The one sentence that is said where nothing is trained."""
    done = command("train", *arguments, cwd=folder, status=status)
    assert done.out == ""
    assert heads(folder) == {}
    return done.err.splitlines()[-1]


def test_labels_that_cannot_be_learned_are_refused(made_up, command):
    labels = {
        "style": [*STYLES * 5, "Zest"],
        "school": ["one"] * 21,
        "period": [f"work {i}" for i in range(21)],
        "genre": ["a", "b"] + [""] * 19,
    }
    folder = made_up(labels)
    said = {kind: refused(command, folder, "--label", kind) for kind in ("school", "period", "genre", "stile")}
    assert said == {
        "school": "simsearch: school has one class only ('one', 21 works); a head needs two or more to tell apart",
        "period": "simsearch: of 21 classes of period none has 2 works to train on; label more works",
        "genre": "simsearch: of 2 classes of genre none has 2 works to train on; label more works",
        "stile": "simsearch: no work of this collection has a label 'stile'; did you mean 'style'?",
    }
    done = command("train", "--label", "style", cwd=folder)
    assert block(done.lines)["left out"] == "1 work of classes with fewer than 2 works to train on"
    assert block(done.lines)["head"] == "style (style), 4 classes"


def test_a_collection_without_labels_says_how_to_get_some(tmp_path, command):
    collection, _ = fill(tmp_path, clusters([""] * 5), {})
    collection.close()
    said = refused(command, tmp_path, "--label", "style")
    assert said.startswith("simsearch: no work of this collection has a label to learn from; put an artworks.csv with ")


def test_wrong_usage_is_status_two(place, command):
    for arguments, said in (
        (
            ["--label", "style", "--label", "genre", "--name", "x"],
            "--name is for one --label; several heads take their",
        ),
        ([], "Missing option '--label'"),
        (["--label", "style", "--held-out", "1"], "'--held-out'"),
        (["--label", "style", "--seed", "-1"], "'--seed'"),
        (["--label", "style", "--min-images", "1"], "'--min-images'"),
        (["--label", "style", "--balance", "both"], "'both' is not one of 'none', 'weights', 'sampling'"),
        (
            ["--label", "style", "--where", "colour = 1"],
            "colour at character 1 is not a column; the columns are split,",
        ),
    ):
        assert said in command("train", *arguments, cwd=place, status=2).err
    assert heads(place) == {}


def test_what_the_library_refuses_is_one_sentence(place, command):
    for arguments, said in (
        (["--drop", "Ebmer"], "no work has the style 'Ebmer'; did you mean 'Ember'?"),
        (["--map", "none.csv"], "none.csv cannot be read: No such file or directory"),
        (["--split-by", "genre"], "no work has an attribute 'genre' that could be a split; leave --split-by away"),
        (
            ["--name", "a/b"],
            "a head cannot be called 'a/b'; give it a --name of letters, digits, dots, - and _, at most",
        ),
        (["--encoder", "colr"], "this collection has no embeddings by 'colr'; did you mean 'color'?"),
    ):
        assert refused(command, place, "--label", "style", *arguments).startswith(f"simsearch: {said}")


def test_without_a_collection_it_says_how_to_make_one(tmp_path, command):
    done = command("train", "--label", "style", cwd=tmp_path, status=1)
    assert "there is no collection in" in done.err
    assert "simsearch index FOLDER" in done.err


def test_a_damaged_embedding_is_named_and_the_way_out_works(place, command):
    damage(place, 17)
    said = refused(command, place, "--label", "style")
    assert said == (
        "simsearch: the stored embedding of artwork 17 is damaged: it holds a number that is not finite; "
        "`simsearch index --rebuild --encoder color` embeds the image again"
    )
    way = re.search("`simsearch (.*)`", said)
    assert way is not None
    assert "120 unchanged" in command(*way[1].split(), cwd=place).out
    command("train", "--label", "style", cwd=place)
    assert heads(place) == {"color": ["style"]}


# -- a place that cannot be written, or is in use ----------------------------------------------------------------------


def allow(folder, may_write):
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o755 if path.is_dir() else 0o644) if may_write else (0o555 if path.is_dir() else 0o444))


@pytest.mark.parametrize("what", [".simsearch", ".simsearch/heads"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_learned(place, what, unprivileged):
    folder = place / what
    folder.mkdir(exist_ok=True)
    allow(folder, False)
    known = {key: value for key, value in os.environ.items() if not key.startswith("SIMSEARCH_")}
    try:
        done = subprocess.run(
            [*unprivileged, *TRAIN[1:], "--label", "style"], cwd=place, env=known, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    finally:
        allow(folder, True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot be" in done.stderr.splitlines()[-1]
    assert "permissions" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "choosing the penalty" not in done.stderr
    assert heads(place) == {}


def test_it_trains_while_another_process_indexes(place, command):
    with FileLock(place / ".simsearch" / "writer.lock"):
        command("train", "--label", "style", cwd=place)
    assert heads(place) == {"color": ["style"]}


def test_stopping_it_leaves_the_head_before(tmp_path):
    values = [f"class {i % 25}" for i in range(4000)]
    collection, entry = fill(tmp_path, clusters(values, dim=256, noise=6.0), {"style": values, "genre": STYLES * 1000})
    folder = tmp_path / ".simsearch" / "heads"
    with collection:
        collection.catalog.store.checkpoint()
    assert subprocess.run([*TRAIN, "--label", "genre"], cwd=tmp_path, capture_output=True, check=False).returncode == 0
    before = {path.name: path.read_bytes() for path in (folder / entry.info.name).iterdir()}
    for name in ("style", "genre"):
        running = subprocess.Popen(
            [*TRAIN, "--label", "style", "--name", name], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("choosing the penalty"):
                running.send_signal(signal.SIGINT)
                break
        out, err = running.communicate(timeout=120)
        assert running.returncode == 130
        assert out == ""
        assert err.splitlines()[-1] == "interrupted"
        assert {path.name: path.read_bytes() for path in (folder / entry.info.name).iterdir()} == before
