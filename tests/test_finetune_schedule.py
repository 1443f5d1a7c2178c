"""Which weights learn in a phase, and how fast at each step."""

import math
from itertools import chain

import pytest
from torch_operators import torch

from simsearch.classifier.finetune.backbones import load_backbone
from simsearch.classifier.finetune.network import Network
from simsearch.classifier.finetune.recipe import Neck, Part, Phase, Recipe
from simsearch.classifier.finetune.schedule import learning_layers, parameter_groups, rate_at


@pytest.fixture(scope="module")
def network():
    """Six blocks of a vision transformer, a conv-lstm neck and two parts."""
    recipe = Recipe(
        "tried", "timm:test_vit", input_size=32, parts=(Part("semantic", 8), Part("instance", 4)),
        neck=Neck("conv-lstm", 8),
    )  # fmt: skip
    return Network(recipe, load_backbone(recipe))


def numbers(layers):
    return sum(p.numel() for layer in layers for p in layer)


# -- rates -------------------------------------------------------------------------------------------------------------


def test_the_rate_rises_in_a_straight_line_and_falls_as_a_cosine():
    """Of 100 steps 4 rise; then (1 + cos) / 2 of the way through the other 96."""
    rates = [rate_at(step, 100, 0.04) for step in range(100)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert rates[4 + 48] == pytest.approx(0.5)
    assert rates[4 + 24] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 95 / 96)))
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rate_at(100, 100, 0.04) == pytest.approx(0)


def test_without_warm_up_it_begins_at_the_top():
    assert rate_at(0, 10, 0) == 1
    assert rate_at(5, 10, 0) == pytest.approx(0.5)
    assert rate_at(10, 10, 0) == pytest.approx(0)


def test_short_phases():
    assert rate_at(0, 1, 0) == 1
    assert rate_at(0, 1, 0.05) == 1
    assert [rate_at(step, 2, 0.05) for step in range(2)] == [1, 1]
    assert all(0 < rate_at(step, 3, 1.0) <= 1 for step in range(3))


# -- what learns -------------------------------------------------------------------------------------------------------


def test_nothing_of_the_backbone_learns_with_the_head_and_everything_with_all(network):
    layers = network.backbone.layers()
    assert learning_layers(network, Phase(train="head"), 0) == []
    assert learning_layers(network, Phase(train="all"), 0) == layers[::-1], "output first"
    assert learning_layers(network, Phase(train="100%"), 0) == layers[::-1]
    assert learning_layers(network, Phase(train="0%"), 0) == []


@pytest.mark.parametrize("train", ["1%", "30%", "0.3", "60%", "99%"])
def test_a_share_is_as_many_whole_layers_as_are_needed(network, train):
    layers = network.backbone.layers()
    share = float(train.removesuffix("%")) / (100 if train.endswith("%") else 1)
    chosen = learning_layers(network, Phase(train=train), 0)
    assert chosen == layers[::-1][: len(chosen)]
    assert numbers(chosen) >= share * numbers(layers) > numbers(chosen[:-1])


def test_with_a_cache_nothing_below_its_cut_learns(network):
    layers = network.backbone.layers()
    assert len(layers) == 7, "what stands before the blocks, and six of them"
    assert learning_layers(network, Phase(train="all"), 4) == [layers[6], layers[5]]
    assert learning_layers(network, Phase(train="all"), 1) == layers[:1:-1]
    assert learning_layers(network, Phase(train="all"), 6) == []
    assert learning_layers(network, Phase(train="1%"), 4) == [layers[6]]
    assert learning_layers(network, Phase(train="head"), 4) == []
    fifth = {id(p) for p in network.backbone.network.blocks[4].parameters()}
    assert fifth == {id(p) for p in learning_layers(network, Phase(train="all"), 4)[1]}


# -- groups ------------------------------------------------------------------------------------------------------------


def test_rates_fall_from_layer_to_layer_and_what_is_new_has_its_own(network):
    phase = Phase(lr=1e-3, head_lr=5e-3, layer_decay=0.5, weight_decay=0.1)
    layers = learning_layers(network, phase, 0)
    new = [*network.neck.parameters(), *network.parts.parameters()]
    rate_of = {
        id(p): (group["peak"], group["weight_decay"])
        for group in parameter_groups(layers, new, phase)
        for p in group["params"]
    }
    for depth, layer in enumerate(layers):
        for p in layer:
            assert rate_of[id(p)] == (pytest.approx(1e-3 * 0.5**depth), 0.1 if p.ndim > 1 else 0.0)
    for p in new:
        assert rate_of[id(p)] == (5e-3, 0.1 if p.ndim > 1 else 0.0)


def test_every_weight_that_learns_is_in_one_group(network):
    phase = Phase(train="30%")
    layers = learning_layers(network, phase, 0)
    new = [*network.neck.parameters(), *network.parts.parameters()]
    grouped = [id(p) for group in parameter_groups(layers, new, phase) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in chain(new, *layers)}


def test_groups_are_what_the_optimiser_takes_and_leave_out_what_does_not_learn(network):
    frozen = torch.nn.Linear(3, 3)
    frozen.weight.requires_grad_(False)
    groups = parameter_groups([], frozen.parameters(), Phase(weight_decay=0.2))
    assert [(group["params"], group["weight_decay"]) for group in groups] == [([frozen.bias], 0.0)]
    optimiser = torch.optim.AdamW(groups)
    assert [group["lr"] for group in optimiser.param_groups] == [Phase().head_lr]
    assert optimiser.param_groups[0]["peak"] == Phase().head_lr
    assert parameter_groups([], [], Phase()) == []
