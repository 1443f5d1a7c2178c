"""Training: heads learn what labels say and nothing else, and their cards say what they did, by value."""

import json
from dataclasses import fields

import numpy as np
import pytest
from labelled_works import clusters, fill
from sklearn import metrics as sk
from trained_heads import CLASSES, PLAIN, macro_f1, of, same, trained, values_of

from simsearch.classifier import fit as linear
from simsearch.classifier.head import folder_of
from simsearch.classifier.labelled import load
from simsearch.classifier.learn import TUNE, learn, tuning_part
from simsearch.classifier.prepare import ClassChoices, SplitChoices
from simsearch.classifier.train import Choices, groups_for, train
from simsearch.errors import HeadError, LabelError, QueryError, WhereError

# -- what is learned ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_planted_classes_are_learned(tmp_path, seed):
    values = values_of(400)
    head, _, works = trained(tmp_path, clusters(values, noise=1.0, seed=seed), {"style": values})
    assert head.classes == CLASSES
    held = of(works, head.held_out)
    guess = np.array(head.classes)[head.probabilities(held.rows).argmax(axis=1)]
    assert (guess == held.values).mean() > 0.9
    assert head.card["held_out_figures"]["top1"][0] == pytest.approx((guess == held.values).mean(), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("choices", [PLAIN, Choices(balance="weights")], ids=["plain", "weights"])
def test_training_on_shuffled_labels_falls_to_chance(tmp_path, seed, choices):
    rows = clusters(values_of(800), noise=1.0, seed=seed)
    shuffled = np.random.default_rng(seed).permutation(values_of(800)).tolist()
    head, _, _ = trained(tmp_path, rows, {"style": shuffled}, choices)
    figures = head.card["held_out_figures"]
    _, low, high = figures["top1"]
    assert figures["chance"] == 0.25
    assert low <= 0.25 <= high
    assert len(head.card["fit"]["tried"]) >= 3, "the search for the penalty is part of it"


def test_shuffled_labels_give_a_head_that_knows_that_it_knows_nothing(tmp_path):
    rows = clusters(values_of(800), noise=1.0)
    shuffled = np.random.default_rng(0).permutation(values_of(800)).tolist()
    head, _, works = trained(tmp_path, rows, {"style": shuffled})
    assert head.probabilities(works.rows).max() < 0.5


def test_the_same_seed_gives_the_same_head_and_another_another(tmp_path):
    values = values_of(200)
    rows = clusters(values, noise=1.5)
    choices = [Choices(split=SplitChoices(seed=seed), balance="sampling") for seed in (1, 1, 2)]
    heads = [trained(tmp_path / str(i), rows, {"style": values}, c)[0] for i, c in enumerate(choices)]
    assert same(heads[0], heads[1])
    assert not np.array_equal(heads[0].held_out, heads[2].held_out)
    cards = [{key: value for key, value in head.card.items() if key not in ("made", "seconds")} for head in heads]
    assert cards[0] == cards[1]


def test_classes_stand_by_name_whatever_the_order_of_the_works(tmp_path):
    values = values_of(200)
    rows = clusters(values, noise=1.0)
    turned = dict(zip(CLASSES, ("Moss", "Tide", "Dawn", "Ember"), strict=True))
    first = trained(tmp_path / "a", rows, {"style": values})[0]
    second = trained(tmp_path / "b", rows, {"style": [turned[value] for value in values]})[0]
    assert first.classes == second.classes == CLASSES
    order = [CLASSES.index(turned[name]) for name in CLASSES]
    assert second.probabilities(rows)[:, order] == pytest.approx(first.probabilities(rows), abs=0.02)


def test_the_penalty_and_the_temperature_are_chosen_on_a_part_of_train(tmp_path):
    values = values_of(400)
    head, _, works = trained(tmp_path, clusters(values, noise=2.5), {"style": values})
    learning = of(works, head.trained_on)
    codes = np.array([CLASSES.index(value) for value in learning.values])
    tune = tuning_part(learning, codes, PLAIN)
    assert tune.mean() == pytest.approx(TUNE, abs=0.01)
    assert not set(learning.groups[tune]) & set(learning.groups[~tune])
    losses = {}
    for C in linear.GRID:
        weights, bias = linear.fit(learning.rows[~tune], codes[~tune], 4, C=C)
        losses[C] = linear.temperature(linear.logits(learning.rows[tune], weights, bias), codes[tune])
    said = head.card["fit"]
    assert [c for c, _ in said["tried"]] == list(linear.GRID[: len(said["tried"])])
    assert [loss for _, loss in said["tried"]] == pytest.approx([losses[c][1] for c, _ in said["tried"]], abs=1e-3)
    best = min((losses[c][1], c) for c, _ in said["tried"])[1]
    assert said["C"] == best
    assert head.temperature == pytest.approx(losses[best][0], rel=0.01)
    weights, bias = linear.fit(learning.rows, codes, 4, C=best)
    assert head.weights == pytest.approx(weights, abs=1e-5)
    assert head.bias == pytest.approx(bias, abs=1e-5)


def test_probabilities_are_calibrated_on_works_that_nobody_chose_by(tmp_path):
    values = values_of(2000)
    rows = clusters(values, dim=32, noise=4.0)
    head, _, works = trained(tmp_path, rows, {"style": values}, Choices(split=SplitChoices(share=0.3)))
    held = of(works, head.held_out)
    shares = head.probabilities(held.rows)
    right = np.array(CLASSES)[shares.argmax(axis=1)] == held.values
    assert 0.5 < right.mean() < 0.85, "hard enough to be unsure of"
    assert shares.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.05)


def test_six_works_make_a_head(tmp_path):
    values = values_of(6, CLASSES[:2])
    head, _, _ = trained(
        tmp_path, clusters(values, noise=0.6), {"style": values}, Choices(split=SplitChoices(share=0.34))
    )
    assert len(head.trained_on) == 4
    assert len(head.held_out) == 2


# -- what is learned from ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", [None, "artist"])
@pytest.mark.parametrize("official", [False, True])
def test_what_was_trained_on_and_what_was_held_out_are_all_works_and_no_work_is_both(tmp_path, group_by, official):
    rng = np.random.default_rng(0)
    values = values_of(240)
    artists = [f"artist {rng.integers(20)}" if i % 9 else "" for i in range(240)]
    split = ["val" if i % 5 == 0 else "train" for i in range(240)]
    images = [*range(239), 5]  # the last shows the picture of one that is held out
    rows = clusters(values, noise=1.0)
    rows[239] = rows[5]
    head, _, works = trained(
        tmp_path, rows, {"style": values, "artist": artists}, Choices(split=SplitChoices(official, group_by=group_by)),
        extra={"split": split}, images=images,
    )  # fmt: skip
    trained_on, held = of(works, head.trained_on), of(works, head.held_out)
    assert not set(trained_on.groups) & set(held.groups)
    said = head.card["works"]
    assert said["trained_on"] + said["held_out"] + sum(said["left_out"].values()) == 240
    if group_by == "artist":
        assert not set(trained_on.artists) & set(held.artists)
        assert "" not in {*trained_on.artists, *held.artists}
        assert said["left_out"] == {"by an unknown artist": artists.count("")}
        assert head.card["split"] == {"official": False, "near_duplicate": 0.93, "share": 0.2, "seed": 0,
                                      "group_by": "artist"}  # fmt: skip
    elif official:
        assert set(held.parts) - {"train"} == {"val"}
        assert said["left_out"] == {"with a near-duplicate among those held out": 1}
        assert head.card["split"] == {"official": True, "near_duplicate": 0.93, "by": "auto"}
    else:
        assert said["left_out"] == {}
        assert len(trained_on) + len(held) == 240


def test_works_without_a_label_are_not_learned_from(tmp_path):
    values = [value if i % 3 else "" for i, value in enumerate(values_of(240))]
    head, _, works = trained(tmp_path, clusters(values_of(240), noise=1.0), {"style": values})
    assert len(works) == 160
    assert len(head.trained_on) + len(head.held_out) == 160
    assert set(head.trained_on) | set(head.held_out) == set(works.images)


def test_predictions_are_not_learned_from(tmp_path):
    values = [value if i % 3 else "" for i, value in enumerate(values_of(240))]
    rows = clusters(values_of(240), noise=1.0)
    plain = trained(tmp_path / "plain", rows, {"style": values})[0]
    wrong = [(id, "Tide", 0.99) for id in range(1, 241)]
    predicted = trained(tmp_path / "predicted", rows, {"style": values}, predict=wrong)[0]
    assert same(plain, predicted)


def test_only_works_that_fit_the_filter_are_learned_from(tmp_path):
    values = values_of(240)
    extra = {"room": ["1" if i % 2 else "2" for i in range(240)]}
    choices = Choices(where="room = '1'")
    head, _, works = trained(tmp_path, clusters(values, noise=1.0), {"style": values}, choices, extra=extra)
    assert head.classes == ("Ember", "Tide")
    keys = {*head.trained_on, *head.held_out}
    assert keys == set(works.images[1::2])


def test_a_cap_and_small_classes_are_counted(tmp_path):
    values = ["big"] * 100 + ["middle"] * 40 + ["small"] * 4 + ["single"]
    choices = Choices(classes=ClassChoices(min_images=10, cap=50), split=SplitChoices(share=0.25))
    head, _, _ = trained(tmp_path, clusters(values, noise=1.0), {"style": values}, choices)
    assert head.classes == ("big", "middle")
    assert head.card["works"]["of_class"] == {"big": 50, "middle": 30}
    assert head.card["works"]["left_out"] == {
        "of classes with fewer than 10 works to train on": 4,
        "beyond 50 of a class": 25,
        "held out, of classes that are not trained": 1,
    }


def test_rare_classes_gain_recall_by_balance_and_lose_precision(tmp_path):
    rng = np.random.default_rng(0)
    values = np.where(rng.random(1000) < 0.08, "rare", "common").tolist()
    rows = clusters(values, dim=24, noise=4.0, seed=2)
    recall, precision = {}, {}
    for balance in ("none", "weights", "sampling"):
        head, _, works = trained(
            tmp_path / balance, rows, {"style": values}, Choices(balance=balance, split=SplitChoices(share=0.4))
        )
        held = of(works, head.held_out)
        guess = np.array(head.classes)[head.probabilities(held.rows).argmax(axis=1)]
        recall[balance] = sk.recall_score(held.values, guess, pos_label="rare")
        precision[balance] = sk.precision_score(held.values, guess, pos_label="rare", zero_division=0)
        assert head.card["choices"]["balance"] == balance
    for balance in ("weights", "sampling"):
        assert recall[balance] > recall["none"] + 0.2
        assert precision[balance] < precision["none"]


# -- the card ----------------------------------------------------------------------------------------------------------


def test_every_choice_is_in_the_card(tmp_path):
    values = values_of(240) + ["Dusk"] * 20 + ["Noise"] * 5
    choices = Choices(
        where="room = '1'", split_by="room2", classes=ClassChoices({"Dusk": "Dawn"}, ["Noise"], 3, 70),
        split=SplitChoices(share=0.3, seed=7), near_duplicate=0.97, balance="weights", pseudo_label=0.9, threshold=0.6,
    )  # fmt: skip
    extra = {"room": ["1"] * 265, "room2": ["val" if i % 5 == 0 else "train" for i in range(265)]}
    head, _, _ = trained(tmp_path, clusters(values, noise=1.0), {"style": values}, choices, extra=extra)
    said = json.loads(json.dumps(head.to_dict()))
    assert said["choices"] == {
        "where": "room = '1'", "split_by": "room2", "merge": {"Dusk": "Dawn"}, "drop": ["Noise"], "min_images": 3,
        "cap": 70, "official": True, "share": 0.3, "group_by": None, "seed": 7, "near_duplicate": 0.97,
        "balance": "weights", "pseudo_label": 0.9, "threshold": 0.6,
    }  # fmt: skip
    flat = {f.name for part in (Choices, ClassChoices, SplitChoices) for f in fields(part)} - {"classes", "split"}
    assert set(said["choices"]) == flat, "a new choice goes into the card, too"
    assert said["threshold"] == head.threshold == 0.6
    assert said["split"] == {"official": True, "near_duplicate": 0.97, "by": "room2"}
    assert said["classes"] == list(CLASSES)
    assert said["works"]["of_class"]["Dawn"] == 64, "48 of its own and 16 that were Dusk"
    assert said["works"]["left_out"]["of classes that were dropped"] == 5
    assert said["fit"]["library"].startswith("scikit-learn ")
    assert said["made"].endswith("+00:00")


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_of_the_card_are_those_of_scikit_learn(tmp_path, seed):
    rng = np.random.default_rng(seed)
    values = rng.choice([*CLASSES, "Zest"], 500, p=[0.4, 0.3, 0.15, 0.1, 0.05]).tolist()
    head, _, works = trained(tmp_path, clusters(values, noise=3.0, seed=seed), {"style": values})
    held = of(works, head.held_out)
    guess = np.array(head.classes)[head.probabilities(held.rows).argmax(axis=1)]
    figures = head.card["held_out_figures"]
    assert figures["top1"][0] == pytest.approx(sk.accuracy_score(held.values, guess), abs=1e-4)
    assert figures["macro_f1"][0] == pytest.approx(macro_f1(held.values, guess, head.classes), abs=1e-4)
    assert figures["majority"] == pytest.approx((held.values == "Dawn").mean(), abs=1e-4)
    assert figures["chance"] == pytest.approx(1 / len(head.classes), abs=1e-4)
    for name in ("top1", "macro_f1"):
        value, low, high = figures[name]
        assert low < value < high


# -- what cannot be trained --------------------------------------------------------------------------------------------


def small(folder, **changes):
    given = {"style": values_of(40), "artist": [f"artist {i % 8}" for i in range(40)]} | changes
    return fill(folder, clusters(values_of(40), noise=1.0), given, extra={"room": ["1", "2"] * 20})[0]


@pytest.mark.parametrize(
    ("choices", "error", "said"),
    [
        (Choices(where="colour = 1"), WhereError, "colour"),
        (Choices(where="room = '3'"), LabelError, "no work with a label 'style' fits --where"),
        (
            Choices(split_by="room"),
            LabelError,
            r"the attribute 'room' holds 1, 2; a split says train and val \(or test",
        ),
        (Choices(split_by="hall"), LabelError, "no work has an attribute 'hall' that could be a split"),
        (
            Choices(classes=ClassChoices(drop=["Dwan"])),
            LabelError,
            r"no work has the style 'Dwan'; did you mean 'Dawn'",
        ),
        (Choices(classes=ClassChoices(drop=CLASSES[:3])), LabelError, r"style has one class only \('Tide', 10 works\)"),
        (Choices(classes=ClassChoices(drop=CLASSES)), LabelError, "every class of style is dropped"),
        (Choices(classes=ClassChoices(min_images=20)), LabelError, "of 4 classes of style none has 20 works to train"),
        (Choices(split=SplitChoices(share=0.001)), LabelError, "no work with a label 'style' can be held out beside"),
        (Choices(balance="both"), QueryError, "balance is 'both'; there are none, weights, sampling"),
        (Choices(split=SplitChoices(share=1.0)), QueryError, "the held-out share is 1.0; it lies between 0 and 1"),
        (Choices(split=SplitChoices(group_by="room")), QueryError, "works can be grouped by artist, not by 'room'"),
        (Choices(split=SplitChoices(seed=-1)), QueryError, "the seed is -1; it is 0 or more"),
        (Choices(threshold=1.5), QueryError, "threshold is 1.5; a probability lies between 0 and 1"),
        (Choices(pseudo_label=-0.1), QueryError, "pseudo_label is -0.1; a probability lies between 0 and 1"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_leaves_nothing(tmp_path, choices, error, said):
    with small(tmp_path) as collection:
        with pytest.raises(error, match=said):
            train(collection, "style", choices=choices)
        assert not (collection.folder / "heads").exists()


def test_labels_that_are_not_there_are_refused_with_the_nearest(tmp_path):
    with small(tmp_path) as collection:
        with pytest.raises(LabelError, match=r"no work of this collection has a label 'stlye'; did you mean 'style'\?"):
            train(collection, "stlye")
        with pytest.raises(LabelError, match="'genre'; there are style, artist"):
            groups_for(collection, ["style", "genre"], PLAIN)


def test_whole_artists_can_be_held_out_only_where_there_are_some_and_they_are_not_what_is_learned(tmp_path):
    choices = Choices(split=SplitChoices(group_by="artist"))
    with (
        small(tmp_path / "known") as collection,
        pytest.raises(LabelError, match="artists cannot be learned where whol"),
    ):
        train(collection, "artist", choices=choices)
    with (
        small(tmp_path / "unknown", artist=[""] * 40) as collection,
        pytest.raises(LabelError, match="no work with a label 'style' has an artist; leave --group-by away"),
    ):
        train(collection, "style", choices=choices)


def test_a_head_that_no_file_can_be_called_like_is_refused_before_anything_is_learned(tmp_path):
    with small(tmp_path, **{"school of": values_of(40)}) as collection:
        for kind, name in (("style", "a/b"), ("school of", None)):
            with pytest.raises(HeadError, match="give it a --name"):
                train(collection, kind, name=name)
        head = train(collection, "school of", name="school")
        assert (head.name, head.kind) == ("school", "school of")
        assert (folder_of(collection, head.encoder) / "school.json").is_file()


def test_a_class_that_is_held_out_whole_is_not_learned_and_is_counted(tmp_path):
    values = values_of(80) + ["Zest"] * 6
    split = ["val" if i % 4 == 0 or i >= 80 else "train" for i in range(86)]
    values[:80] = ["Dawn" if i % 8 < 4 else "Moss" for i in range(80)]
    head, _, _ = trained(tmp_path, clusters(values, noise=1.0), {"style": values}, extra={"split": split})
    assert head.classes == ("Dawn", "Moss")
    assert head.card["works"]["left_out"] == {"held out, of classes that are not trained": 6}


def test_learning_is_watched_to_its_end(tmp_path):
    said = []
    with small(tmp_path) as collection:
        train(collection, "style", watch=lambda *words: said.append(words))
    parts = list(dict.fromkeys(what for what, _, _ in said))
    assert parts == ["comparing works by synthetic", "choosing the penalty", "fitting the head"]
    for part in parts:
        done = [(done, of) for what, done, of in said if what == part]
        assert done[-1][0] == done[-1][1]
        assert done == sorted(done)


def test_codes_of_labels_outside_the_classes_are_a_callers_mistake(tmp_path):
    with small(tmp_path) as collection:
        works = load(collection, "style", collection.encoder_entry())
    with pytest.raises(KeyError, match="Tide"):
        learn(works, CLASSES[:3], PLAIN)
