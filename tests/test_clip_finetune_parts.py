"""What tuning a CLIP is made of, by values worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from torch_operators import torch

from simsearch.classifier.finetune.clip.kept import Kept
from simsearch.classifier.finetune.clip.layers import projections, tower_layers
from simsearch.classifier.finetune.clip.loss import contrast, matches
from simsearch.classifier.finetune.clip.measure import (
    PROBES,
    agreement,
    label_search_figures,
    probes_beside,
    search_figures,
)
from simsearch.classifier.finetune.clip.sections import Captions, Wise
from simsearch.classifier.finetune.clip.telling import Question, Telling
from simsearch.classifier.finetune.clip.wise import Point, chosen, interpolated, trade_off
from simsearch.classifier.finetune.works import Works

from tiny_clip import tiny_clip  # isort: skip


def told(*rows):
    return torch.tensor(rows)


# -- which captions fit which works ------------------------------------------------------------------------------------


def test_a_caption_fits_every_work_that_has_all_it_says_and_what_is_unknown_is_open():
    codes = told([0, 0, 1, -1], [5, 6, 5, 5])  # style and genre of four works
    says = told([True, True], [True, False])  # the first tells both, the second the style alone
    fits, unknown = matches(codes, says, told([0, 0], [5, -1]))
    assert fits.tolist() == [[True, False, False, False], [True, True, False, False]]
    assert unknown.tolist() == [[False, False, False, True], [False, False, False, True]]


def test_works_with_one_caption_are_not_strangers_to_each_other():
    """Two works of one caption, a third of another: by hand, with cosines 1 and 0 and a scale of 1."""
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    fits = told([True, True, False], [True, True, False], [False, False, True])
    loss = contrast(images, images, torch.tensor(1.0), fits, torch.zeros_like(fits))
    e = math.e
    both = -math.log(e / (2 * e + 1))
    alone = -math.log(e / (2 + e))
    assert float(loss) == pytest.approx((2 * both + alone) / 3, abs=1e-6)
    for positive, pulled in ((fits, True), (torch.eye(3) > 0, False)):
        moving = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], requires_grad=True)
        texts = images[[0, 2]]  # the second work's caption is the first's too
        contrast(moving, texts, torch.tensor(1.0), positive[[0, 2]], torch.zeros(2, 3) > 0).backward()
        assert (float(moving.grad[1, 0]) < 0) == pulled


def test_what_is_open_counts_on_neither_side_and_works_without_captions_teach_nothing():
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], requires_grad=True)
    texts = torch.tensor([[1.0, 0.0]])
    fits, unknown = told([True, False, False]), told([False, True, False])
    loss = contrast(images, texts, torch.tensor(1.0), fits, unknown)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-math.log(math.e / (math.e + 1)) / 2, abs=1e-6)
    assert images.grad[1].abs().sum() == 0
    nothing = contrast(images, texts, torch.tensor(1.0), told([False] * 3), unknown)
    assert float(nothing.detach()) == 0


# -- captions of works -------------------------------------------------------------------------------------------------


def works(**labels):
    n = len(next(iter(labels.values())))
    columns = {kind: np.array(values) for kind, values in labels.items()}
    return Works(
        [Path(f"{i}.png") for i in range(n)],
        np.arange(n).astype(np.uint64),
        columns,
        np.full(n, ""),
        np.full(n, ""),
        np.arange(n),
    )


def test_captions_drawn_say_which_labels_they_tell():
    telling = Telling(Captions(labels=("style", "genre")), works(style=["Dawn", "", ""], genre=["bars", "bars", ""]))
    drawn = telling.draw(np.array([2, 1, 0]), np.random.default_rng(0))
    assert len(drawn.texts) == 2  # the third work has no label
    assert drawn.told[:, 0].tolist() == [False, True]
    assert "bars" in drawn.texts[0]
    assert drawn.said.shape == (2, 2)
    fits, _ = matches(*(torch.from_numpy(a) for a in (telling.codes[:, [2, 1, 0]], drawn.told, drawn.said)))
    assert fits[0].tolist() == [False, True, True]


def test_each_text_is_asked_once_and_finds_all_works_that_it_fits():
    telling = Telling(
        Captions(labels=("style", "genre")), works(style=["Dawn", "Dawn", "Dawn"], genre=["bars", "bars", ""])
    )
    first, second = telling.questions(np.arange(3))
    assert (first.text, first.finds.tolist()) == ("a Dawn bars", [True, True, False])
    assert (second.text, second.finds.tolist()) == ("a painting in the style of Dawn", [True, True, True])


# -- figures -----------------------------------------------------------------------------------------------------------


def test_search_is_measured_beside_chance_by_hand():
    images = np.eye(20, dtype=np.float32)
    texts = images[[3, 4]]
    questions = [Question("a", np.arange(20) == 3), Question("b", np.arange(20) == 19)]
    figures = search_figures("captions", questions, texts, images)
    assert figures == {"captions_r10": 0.5, "captions_chance": pytest.approx(0.5), "captions_questions": 2.0}
    assert search_figures("captions", [], texts[:0], images) == {}


def test_labels_are_given_by_the_nearest_text():
    images = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    figures = label_search_figures(
        "style", np.array(["a", "a", "b", "a"]), {"a": 3, "b": 1}, np.eye(2, dtype=np.float32), images
    )
    assert figures["style_accuracy"] == 0.75
    assert figures["style_text_p10"] == pytest.approx((1 * 2 / 3 + 1) / 2)  # of a the third found is b
    assert figures["style_text_chance"] == 0.5


def test_agreement_is_a_rank_correlation():
    scores = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    assert agreement(scores, 2 * scores + 1) == pytest.approx(1)
    assert agreement(scores, -scores) == pytest.approx(-1)
    assert math.isnan(agreement(scores[:, :1], scores[:, :1]))
    assert "a dog" not in probes_beside(["Dog"])
    assert len(probes_beside(["Dog"])) == len(PROBES) - 1


# -- mixes of weights --------------------------------------------------------------------------------------------------


def test_weights_between_two_are_on_the_line_and_the_ends_are_themselves():
    original, tuned = (
        {"w": torch.tensor([0.1, 1.0]), "n": torch.tensor(1)},
        {"w": torch.tensor([0.3, 3.0]), "n": torch.tensor(2)},
    )
    half = interpolated(original, tuned, 0.5)
    assert torch.allclose(half["w"], torch.tensor([0.2, 2.0]))
    assert int(half["n"]) == 2
    assert interpolated(original, tuned, 0.0) == original
    assert interpolated(original, tuned, 1.0) == tuned


def points(*given):
    return tuple(Point(alpha, task, retained, {}) for alpha, task, retained in given)


@pytest.mark.parametrize(
    ("given", "alpha"),
    [
        ([(0, 0.2, 1.0), (0.5, 0.6, 0.95), (1, 0.8, 0.5)], 0.5),  # the last forgets too much
        ([(0, 0.2, 1.0), (0.5, 0.6, 0.95), (1, 0.8, 0.9)], 1),
        ([(0, 0.2, 1.0), (0.5, 0.6, 0.5), (1, 0.8, 0.4)], 0),  # nothing but the original keeps enough
        ([(0, 0.9, 1.0), (0.5, 0.6, 1.0)], 0),
        ([(0, 0.6, 0.9), (0.5, 0.7, 0.95), (1, 0.7, 0.9)], 0.5),  # as good, and retains more
        ([(0, math.nan, 1.0), (1, math.nan, 0.2)], 1),
    ],
)
def test_the_best_mix_among_those_that_keep_enough_is_taken(given, alpha):
    assert chosen(points(*given), Wise(keep=0.9)) == alpha


def test_the_original_is_always_measured_first():
    asked = []

    def measure(alpha):
        asked.append(alpha)
        return Point(alpha, alpha, 1 - alpha, {"x": math.nan})

    told = trade_off(Wise(alphas=(1.0, 0.5)), measure, "t", "r")
    assert asked == [0.0, 0.5, 1.0]
    assert told.chosen == 0.0
    assert told.to_dict()["points"][1] == {"alpha": 0.5, "task": 0.5, "retained": 0.5, "figures": {"x": None}}
    assert told.at(0.5).retained == 0.5
    with pytest.raises(KeyError):
        told.at(0.3)


# -- parameters --------------------------------------------------------------------------------------------------------


def test_layers_and_projections_are_all_parameters_once():
    model = tiny_clip()
    layers = tower_layers(model)
    every = [id(p) for layer in layers for p in layer] + [id(p) for p in projections(model)]
    assert sorted(every) == sorted(id(p) for p in model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    first, *_, last = [{names[id(p)] for p in layer} for layer in layers]
    assert len(layers) == 3
    assert {"visual.conv1.weight", "token_embedding.weight", "positional_embedding", "visual.ln_pre.weight"} <= first
    assert {"visual.ln_post.weight", "ln_final.weight", "transformer.resblocks.1.ln_1.weight"} <= last


def test_an_average_follows_and_stands_in_for_a_while():
    model = torch.nn.Linear(1, 1)
    kept = Kept.of(model, list(model.parameters()), buffers=True)
    average = kept.copy()
    with torch.no_grad():
        model.weight.fill_(2.0)
        dict(average.tensors())["weight"].fill_(1.0)
    average.follow(kept, 0.75)
    with kept.holding(average):
        assert model.weight.item() == pytest.approx(1.25)
    assert model.weight.item() == 2.0
