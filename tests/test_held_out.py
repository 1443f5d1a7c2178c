"""What a run holds out, and what it sees there: whole artists, no near-duplicates, figures worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from simsearch.classifier.finetune.held_out import (
    UNKNOWN,
    class_numbers,
    classes_of,
    divided,
    drawn,
    label_figures,
    likeness_figures,
    merit,
)
from simsearch.classifier.finetune.recipe import Contrast, Recipe, Task
from simsearch.classifier.finetune.works import Works
from simsearch.errors import TrainingError

RECIPE = Recipe("held", "cnn:3", tasks={"style": Task()}, held_out=0.25, seed=3)


def made_up(styles, artists=None, parts=None, groups=None, **labels):
    n = len(styles)
    return Works(
        [Path(f"{i}.png") for i in range(n)], np.arange(n, dtype=np.uint64),
        {"style": np.array(list(styles)), **{kind: np.array(values) for kind, values in labels.items()}},
        np.array(artists or [""] * n), np.array(parts or [""] * n), np.array(groups or range(n), np.int64),
    )  # fmt: skip


def recipe(**changes):
    return Recipe(**({"name": "held", "backbone": "cnn:3", "tasks": {"style": Task()}, "held_out": 0.25} | changes))


# -- what is held out --------------------------------------------------------------------------------------------------


def test_artists_and_near_duplicates_are_held_out_whole():
    random = np.random.default_rng(1)
    artists = [f"artist {i}" for i in random.integers(0, 30, 200)]
    groups = random.integers(0, 150, 200).tolist()
    works = made_up("ABCD" * 50, artists, groups=groups)
    learn, held = divided(works, RECIPE)
    assert sorted([*learn, *held]) == list(range(200))
    assert not set(works.artists[learn]) & set(works.artists[held])
    assert not set(works.groups[learn]) & set(works.groups[held])


def test_about_the_share_is_held_out_of_every_style():
    works = made_up("ABCD" * 50)
    learn, held = divided(works, RECIPE)
    assert len(held) == 50
    assert [int((works.labels["style"][held] == style).sum()) for style in "ABCD"] == pytest.approx([12.5] * 4, abs=1)
    assert len(learn) == 150


def test_unknown_artists_are_not_one_artist():
    _, held = divided(made_up("AB" * 20, [""] * 40), RECIPE)
    assert 5 <= len(held) <= 15


def test_nothing_of_the_part_that_is_published_as_held_out_is_used():
    parts = ["val" if i % 3 == 0 else "train" for i in range(60)]
    learn, held = divided(made_up("AB" * 30, parts=parts), RECIPE)
    assert sorted([*learn, *held]) == [i for i in range(60) if i % 3]
    learn, held = divided(made_up("AB" * 30, parts=[name.replace("train", "") for name in parts]), RECIPE)
    assert sorted([*learn, *held]) == [i for i in range(60) if i % 3], "also where the rest has no name"


def test_the_same_seed_holds_out_the_same():
    works = made_up("ABCD" * 50)
    assert (divided(works, recipe(seed=1))[1] == divided(works, recipe(seed=1))[1]).all()
    assert (divided(works, recipe(seed=1))[1] != divided(works, recipe(seed=2))[1]).any()


def test_nothing_may_be_held_out_and_something_must_be_left():
    works = made_up("AB" * 10)
    learn, held = divided(works, recipe(held_out=0.0))
    assert (learn.tolist(), held.tolist()) == (list(range(20)), [])
    without_tasks = recipe(tasks={}, contrast=(Contrast(),), views=2)
    assert len(divided(works, without_tasks)[1]) == 5
    with pytest.raises(TrainingError, match="1 works leave 1 to learn from; index more"):
        divided(made_up("A"), recipe(held_out=0.0))


# -- classes -----------------------------------------------------------------------------------------------------------


def test_classes_are_those_with_works_enough_to_learn_from():
    works = made_up("AAABBBBC" + "C" * 4)
    learn = np.arange(8)
    assert classes_of(works, learn, RECIPE) == {"style": {"A": 3, "B": 4}}
    assert classes_of(works, learn, recipe(tasks={"style": Task(min_images=1)})) == {"style": {"A": 3, "B": 4, "C": 1}}
    with pytest.raises(TrainingError) as caught:
        classes_of(works, learn, recipe(tasks={"style": Task(min_images=4)}))
    assert str(caught.value) == (
        "style has 1 classes with 4 or more works to learn from; two are needed: leave the task away, or lower its "
        "min_images"
    )


def test_works_without_a_class_of_their_own_are_unknown():
    works = made_up(["A", "B", "", "rare", "A"], genre=["x", "", "y", "y", "x"], artist=["b", "", "a", "b", ""])
    wanted = recipe(tasks={"style": Task()}, contrast=(Contrast(label="artist"), Contrast(label="style")))
    numbers = class_numbers(works, {"style": {"A": 2, "B": 1}}, wanted)
    assert set(numbers) == {"style", "artist"}
    assert numbers["style"].tolist() == [0, 1, UNKNOWN, UNKNOWN, 0]
    assert numbers["artist"].tolist() == [1, UNKNOWN, 0, 1, UNKNOWN], "a contrast takes every label that there is"


def test_as_many_as_are_wanted_in_their_order():
    places = np.arange(100, 160)
    assert (drawn(places, 60, 0) == places).all()
    few = drawn(places, 20, 0)
    assert len(set(few)) == 20
    assert (np.diff(few) > 0).all()
    assert (few == drawn(places, 20, 0)).all()
    assert (few != drawn(places, 20, 1)).any()


# -- figures -----------------------------------------------------------------------------------------------------------


def test_accuracy_and_f1_by_hand():
    """Of four works with a known style three are named rightly; A: 2 of 2 found among 3, B: 1 of 2 found among 1."""
    truth, said = np.array(["A", "A", "B", "B", "", "rare"]), np.array(["A", "A", "B", "A", "B", "B"])
    assert label_figures("style", truth, said, {"A": 5, "B": 9}) == pytest.approx(
        {
            "style_accuracy": 3 / 4, "style_f1": (2 * 2 / (2 + 3) + 2 * 1 / (2 + 1)) / 2, "style_majority": 2 / 4,
            "style_chance": 1 / 2, "style_works": 4,
        }
    )  # fmt: skip
    assert label_figures("style", np.array(["", "rare"]), np.array(["A", "B"]), {"A": 5, "B": 9}) == {}


def circle(degrees):
    return np.array([(math.cos(math.radians(d)), math.sin(math.radians(d))) for d in degrees], np.float32)


def test_neighbours_by_hand():
    """Fewer than ten works are ranked: all of them are found, in ten places."""
    styles = ["A", "B", "", "A", "A", "B", "B", "", "A"]
    artists = ["x", "y", "z", "x", "y", "", "z", "x", ""]
    works = made_up(styles, artists, groups=[0, 1, 2, 3, 4, 1, 6, 7, 8])
    queries, gallery = np.arange(3), np.arange(3, 9)
    ranked = circle([10, 20, 80, 100, 200, 15])
    found = likeness_figures(works, queries, circle([0, 90, 45]), gallery, ranked, ["style"])
    # work 0 (A, by x) finds three of A; work 1 (B, by y) finds one of B, as the other is its copy; work 2 has no style
    # of other artists that are known work 0 finds one of A, and work 1 the same one of B
    assert found == pytest.approx({"style_p10": (3 + 1) / 10 / 2, "style_p10_other": (1 + 1) / 10 / 2})


def test_of_many_works_the_ten_nearest_count():
    """A query between two clusters of twelve, off the middle: the ten nearest are all of one."""
    works = made_up(["A"] + ["A"] * 12 + ["B"] * 12, [f"artist {i}" for i in range(25)])
    rows = circle([*np.linspace(10, 21, 12), *np.linspace(200, 211, 12)])
    gallery = np.arange(1, 25)
    near = likeness_figures(works, np.array([0]), circle([15]), gallery, rows, ["style"])
    far = likeness_figures(works, np.array([0]), circle([205]), gallery, rows, ["style"])
    assert near == {"style_p10": 1.0, "style_p10_other": 1.0}
    assert far == {"style_p10": 0.0, "style_p10_other": 0.0}


def test_figures_that_nothing_speaks_of_are_absent():
    rows, places = circle([0, 90, 180, 270]), np.arange(4)
    nobody = made_up("ABAB")
    found = likeness_figures(nobody, places[:2], rows[:2], places[2:], rows[2:], ["style"])
    assert set(found) == {"style_p10"}, "no artist is known"
    assert likeness_figures(made_up("AAAA"), places[:2], rows[:2], places[2:], rows[2:], ["style"]) == {}
    assert likeness_figures(made_up(["", "", "A", "B"]), places[:2], rows[:2], places[2:], rows[2:], ["style"]) == {}


def test_merit_is_the_mean_of_accuracies_and_of_neighbours_by_other_artists():
    figures = {"style_accuracy": 0.5, "style_f1": 0.1, "style_p10": 0.9, "style_p10_other": 0.3, "genre_accuracy": 0.7}
    assert merit(figures) == pytest.approx((0.5 + 0.3 + 0.7) / 3)
    assert merit({"genre_p10": 0.4, "style_accuracy": 0.2, "style_works": 80.0}) == pytest.approx(0.3)
    assert math.isnan(merit({}))
