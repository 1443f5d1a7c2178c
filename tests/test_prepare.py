"""What is learned from and what is measured: classes chosen by value, and works divided without a leak."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simsearch.classifier.head import Head
from simsearch.classifier.labelled import Labelled
from simsearch.classifier.prepare import (
    ClassChoices,
    SplitChoices,
    capped,
    divide,
    has_official,
    held_out,
    read_mapping,
    together,
    trainable,
    with_classes,
)
from simsearch.errors import LabelError, SourceError
from simsearch.records import EncoderInfo, Preprocessing

ENCODER = EncoderInfo("synthetic", "1", "00", 2, Preprocessing(48))


def labelled(values, *, artists=None, parts=None, groups=None, images=None) -> Labelled:
    """Works with these labels; rows mean nothing here."""
    n = len(values)
    return Labelled(
        "style", ENCODER, np.arange(1, n + 1), np.tile(np.float32([1, 0]), (n, 1)), np.array(values, np.str_),
        artists=np.array([""] * n if artists is None else artists, np.str_),
        images=np.array(range(100, 100 + n) if images is None else images, np.uint64),
        parts=np.array([""] * n if parts is None else parts, np.str_),
        groups=np.array(range(1, n + 1) if groups is None else groups, np.int64),
    )  # fmt: skip


def head(*, classes=("a", "b"), trained_on=(), held=(), official=True, merge=None) -> Head:
    card = {"split": {"official": official}, "choices": {"merge": merge or {}}}
    numbers = np.zeros((len(classes), 2), np.float32), np.zeros(len(classes), np.float32)
    return Head(
        "style", "style", ENCODER, tuple(classes), *numbers, 1.0, 0.5,
        np.array(trained_on, np.uint64), np.array(held, np.uint64), card,
    )  # fmt: skip


# -- classes -----------------------------------------------------------------------------------------------------------


def test_classes_are_merged_and_dropped_by_name():
    choices = ClassChoices(merge={"b": "a", "c": "", "d": "new"}, drop=["e"])
    found, left_out = with_classes(labelled(list("abcdefab")), choices)
    assert found.values.tolist() == ["a", "a", "new", "f", "a", "a"]
    assert found.ids.tolist() == [1, 2, 4, 6, 7, 8]
    assert left_out == {"of classes that were dropped": 2}


def test_a_merge_is_one_step():
    found, left_out = with_classes(labelled(list("abc")), ClassChoices(merge={"a": "b", "b": "c"}))
    assert found.values.tolist() == ["b", "c", "c"]
    assert left_out == {}


@pytest.mark.parametrize("choices", [ClassChoices(drop=["Cubsim"]), ClassChoices(merge={"Cubsim": "x"})])
def test_a_class_that_no_work_has_is_refused_with_the_nearest(choices):
    with pytest.raises(LabelError, match=r"no work has the style 'Cubsim'; did you mean 'Cubism'\?"):
        with_classes(labelled(["Cubism", "Rococo"]), choices)


def test_a_class_that_resembles_no_other_is_refused():
    with pytest.raises(LabelError, match="no work has the style 'Tachisme'; check the spelling"):
        with_classes(labelled(["Cubism", "Rococo"]), ClassChoices(drop=["Tachisme"]))


def test_small_classes_are_left_out_by_their_works_to_train_on():
    works = labelled(["a"] * 6 + ["b"] * 4 + ["c"] * 5 + ["d"])
    train = np.array([True] * 5 + [False] + [True] * 4 + [True] * 3 + [False] * 2 + [True])
    kept, classes, left_out = trainable(works, train, ClassChoices(min_images=4), 0)
    assert classes == ("a", "b")
    assert kept.tolist() == [True] * 5 + [False] + [True] * 4 + [False] * 6
    assert left_out == {"of classes with fewer than 4 works to train on": 4}
    assert trainable(works, train, ClassChoices(), 0)[1] == ("a", "b", "c")


def test_a_class_with_one_image_is_left_out_with_a_note():
    works = labelled(list("aabbc"))
    kept, classes, left_out = trainable(works, np.ones(5, bool), ClassChoices(), 0)
    assert (classes, kept.tolist()) == (("a", "b"), [True] * 4 + [False])
    assert left_out == {"of classes with fewer than 2 works to train on": 1}


@pytest.mark.parametrize(
    ("values", "choices", "said"),
    [
        ("aaaa", ClassChoices(), r"style has one class only \('a', 4 works\); a head needs two or more to tell apart"),
        ("a", ClassChoices(), r"style has one class only \('a', one work\)"),
        ("abc", ClassChoices(), "of 3 classes of style none has 2 works to train on; label more works"),
        ("aab", ClassChoices(), "of 2 classes of style only one has 2 works to train on"),
        ("aabbb", ClassChoices(min_images=3), "only one has 3 works to train on; label more works, or lower --min-im"),
        ("", ClassChoices(), "every class of style is dropped; leave two or more to tell apart"),
    ],
)
def test_fewer_than_two_classes_are_refused(values, choices, said):
    with pytest.raises(LabelError, match=said):
        trainable(labelled(list(values)), np.ones(len(values), bool), choices, 0)


def test_a_second_class_that_is_held_out_altogether_is_counted_as_a_class():
    train = np.array([True, True, False])
    with pytest.raises(LabelError, match="of 2 classes of style only one has 2 works to train on"):
        trainable(labelled(list("aab")), train, ClassChoices(), 0)


def test_a_cap_draws_as_many_of_each_class():
    values = np.array(["a"] * 50 + ["b"] * 5 + ["c"] * 20)
    which = np.arange(75) % 2 == 0
    kept = capped(values, which, 4, seed=1)
    assert not (kept & ~which).any()
    assert [int(kept[values == name].sum()) for name in "abc"] == [4, 3, 4]
    assert (capped(values, which, 4, seed=1) == kept).all()
    assert (capped(values, which, 4, seed=2) != kept).any()
    found = trainable(labelled(values), which, ClassChoices(cap=4), 1)
    assert (found[0] == kept).all()
    assert found[2] == {"beyond 4 of a class": int(which.sum()) - 11}


def test_a_cap_draws_every_work_as_often_as_the_next():
    values = np.array(["a"] * 10)
    often = sum(capped(values, np.ones(10, bool), 3, seed) for seed in range(2000))
    assert (np.abs(often / 2000 - 0.3) < 0.05).all()


# -- the published split -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("training", "test"), ("train", "validation")])
def test_the_published_split_is_kept(train, val):
    works = labelled(list("aabbab"), parts=[train, train, train, val, val, ""])
    assert has_official(works)
    found = divide(works, SplitChoices())
    assert found[0].tolist() == [True, True, True, False, False, False]
    assert found[1].tolist() == [False, False, False, True, True, False]
    assert found[2] == {"in no part of the published split": 1}


def test_near_duplicates_of_held_out_works_leave_train_and_never_val():
    works = labelled(list("aabbaa"), parts=["train"] * 4 + ["val"] * 2, groups=[1, 2, 3, 3, 2, 6])
    train, val, left_out = divide(works, SplitChoices())
    assert train.tolist() == [True, False, True, True, False, False]
    assert val.tolist() == [False] * 4 + [True] * 2
    assert left_out == {"with a near-duplicate among those held out": 1}


@pytest.mark.parametrize("parts", [["train"] * 40, ["val"] * 40, ["A1", "A2"] * 20, [""] * 40])
def test_what_is_no_split_is_no_split(parts):
    works = labelled(["a", "b"] * 20, parts=parts)
    assert not has_official(works)
    assert divide(works, SplitChoices())[1].sum() == 8


def test_a_published_split_can_be_passed_over():
    works = labelled(["a", "b"] * 20, parts=["train"] * 39 + ["val"])
    assert divide(works, SplitChoices(official=False))[1].sum() == 8


# -- a drawn split -----------------------------------------------------------------------------------------------------


def artists_at_work(seed, n=300):
    """Works of 3 styles by artists of very different diligence, some unknown, with near-duplicates among all."""
    rng = np.random.default_rng(seed)
    artists = rng.choice([f"artist {i}" for i in range(25)] + [""], n, p=(p := rng.dirichlet(np.ones(26))) / p.sum())
    groups = np.arange(1, n + 1)
    for a, b in rng.integers(0, n, (25, 2)):  # pairs of near-duplicates, some of them by two artists
        groups[groups == groups[max(a, b)]] = groups[min(a, b)]
    return labelled(rng.choice(list("abc"), n, p=[0.6, 0.3, 0.1]), artists=artists, groups=groups)


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_split_parts_no_near_duplicates(seed):
    works = artists_at_work(seed)
    train, val, left_out = divide(works, SplitChoices(share=0.25, seed=seed))
    assert not (train & val).any()
    assert (train | val).all()
    assert left_out == {}
    assert not set(works.groups[train]) & set(works.groups[val])
    assert val.mean() == pytest.approx(0.25, abs=0.02)
    for name in "abc":
        assert val[works.values == name].mean() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("seed", range(12))
def test_whole_artists_are_held_out_and_near_duplicates_too(seed):
    works = artists_at_work(seed)
    train, val, left_out = divide(works, SplitChoices(group_by="artist", seed=seed))
    assert not set(works.artists[train]) & set(works.artists[val])
    assert not set(works.groups[train]) & set(works.groups[val])
    unknown = works.artists == ""
    assert not unknown[train | val].any()
    assert (train | val)[~unknown].all()
    assert left_out == ({"by an unknown artist": int(unknown.sum())} if unknown.any() else {})
    assert 0 < val.sum() < train.sum()


def test_unknown_artists_tie_no_others_together():
    # each of the unknown works is a near-duplicate of another artist's: together they would make one group of all
    works = labelled(
        ["a", "b"] * 20,
        artists=[f"artist {i // 2}" for i in range(20)] + [""] * 20,
        groups=[i + 1 for i in range(20)] * 2,
    )
    val = divide(works, SplitChoices(group_by="artist", share=0.3))[1]
    assert val[:20].sum() == 6


def test_the_seed_decides_the_split():
    works = artists_at_work(0)
    first, again, other = (divide(works, SplitChoices(seed=seed))[1] for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_groups_are_joined_by_names():
    names = np.array(["x", "y", "x", "", "", "y", "z"])
    assert together(np.array([1, 2, 3, 4, 5, 4, 7]), names).tolist() == [0, 1, 0, 1, 4, 1, 6]
    assert together(np.empty(0, np.int64), np.empty(0, "U1")).tolist() == []


# -- what a head is measured on ----------------------------------------------------------------------------------------


def test_a_head_of_a_published_split_is_measured_on_the_part_asked_for():
    works = labelled(list("aabbabc"), parts=["train"] * 3 + ["val"] * 4)
    gallery, measured, left_out = held_out(works, head(trained_on=[100, 101, 102]))
    assert gallery.ids.tolist() == [1, 2, 3]
    assert measured.ids.tolist() == [4, 5, 6]
    assert left_out == {"of classes that the head does not know": 1}
    assert held_out(works, head(trained_on=[100, 101, 102]), "test")[1].ids.tolist() == [4, 5, 6]


def test_pictures_that_the_head_has_seen_are_never_measured():
    # 4 has the bytes of a train work, 5 is a near-duplicate of one
    works = labelled(
        list("aabbaab"), parts=["train"] * 3 + ["val"] * 4, images=[1, 2, 3, 2, 5, 6, 7], groups=[1, 2, 3, 2, 3, 6, 7]
    )
    _, measured, left_out = held_out(works, head(trained_on=[1, 2, 3]))
    assert measured.ids.tolist() == [6, 7]
    assert left_out == {"that the head has seen, or near-duplicates of those": 2}


def test_a_head_of_a_drawn_split_is_measured_on_what_it_held_out():
    works = labelled(list("ababab"), parts=["train", "val"] * 3)
    found = held_out(works, head(trained_on=[100, 101], held=[102, 103], official=False))
    assert found[0].ids.tolist() == [1, 2]
    assert found[1].ids.tolist() == [3, 4], "works that came later are in no part of its split"


def test_labels_are_merged_as_the_heads_were():
    works = labelled(list("abcabc"), parts=["train"] * 3 + ["val"] * 3)
    made = head(classes=("a", "z"), trained_on=[100, 101], merge={"b": "z", "c": ""})
    gallery, measured, left_out = held_out(works, made)
    assert gallery.values.tolist() == ["a", "z"]
    assert measured.values.tolist() == ["a", "z"]
    assert left_out == {"of classes that the head does not know": 1}


def test_a_head_can_be_measured_on_what_it_has_seen():
    works = labelled(list("abab"), parts=["train", "train", "val", "val"])
    gallery, measured, left_out = held_out(works, head(trained_on=[100, 101]), "train")
    assert gallery.ids.tolist() == measured.ids.tolist() == [1, 2]
    assert left_out == {}


def test_a_part_that_is_not_there_is_refused_with_those_that_are():
    works = labelled(list("abab"), parts=["train", "train", "val", "val"])
    with pytest.raises(LabelError, match="no work belongs to the part 'vall'; there are train, val"):
        held_out(works, head(trained_on=[100, 101]), "vall")
    with pytest.raises(LabelError, match="no work of the part 'val' is left to measure the head 'style' on; its held-"):
        held_out(works, head(official=False, held=[7]))
    with pytest.raises(LabelError, match="no work of the part 'val' is left"):
        held_out(replace(works, values=np.array(list("abxy"))), head(trained_on=[100, 101]))


# -- a mapping ---------------------------------------------------------------------------------------------------------


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "map.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_mapping_is_read_by_the_names_of_its_columns(tmp_path, encoding):
    text = 'note,to,from\nx,Cubism, Analytical Cubism \n,"Abstract, all",Tachisme\n,,Unknown\n,x,\n'
    assert read_mapping(write(tmp_path, text, encoding)) == {
        "Analytical Cubism": "Cubism",
        "Tachisme": "Abstract, all",
        "Unknown": "",
    }


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("from,into\na,b\n", "utf-8", "no column 'to'; a mapping has columns from and to, this has from, into"),
        ("from;to\na;b\n", "utf-8", "no column 'from'; a mapping has columns from and to, this has from;to"),
        ("", "utf-8", "no column 'from'; a mapping has columns from and to, this has none"),
        ("from,to\nMüller,b\n", "latin-1", "is not UTF-8; save it as UTF-8"),
        ("from,to\na,b\n", "utf-16", "is not UTF-8; save it as UTF-8"),
        ("from,to\n" + "a" * 1_200_000 + ",b\n", "utf-8", "is no table that can be read"),
    ],
)
def test_a_mapping_that_is_none_is_refused(tmp_path, text, encoding, said):
    path = write(tmp_path, text, encoding)
    with pytest.raises(SourceError, match=said) as error:
        read_mapping(path)
    assert str(path) in str(error.value)


def test_a_mapping_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere\.csv cannot be read: No such file or directory"):
        read_mapping(tmp_path / "nowhere.csv")
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        read_mapping(tmp_path)
