"""Necks by value: means worked out by hand, the ConvLSTM against loops over places, attention against torch's own."""

import math

import numpy as np
import pytest
from torch import nn
from torch_operators import torch

from simsearch.classifier.finetune.backbones import load_backbone
from simsearch.classifier.finetune.necks import ConvLstmCell, Pyramid, SelfAttention, make_neck
from simsearch.classifier.finetune.recipe import Neck, Recipe
from simsearch.errors import TrainingError

CONV_LSTM = Neck(kind="conv-lstm", width=12)


def backbone(name="timm:test_vit", size=64):
    return load_backbone(Recipe(name="tried", backbone=name, input_size=size)).eval()


def neck(how=CONV_LSTM, on=None):
    torch.manual_seed(1)
    return make_neck(how, on or backbone()).eval()


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


# -- pool --------------------------------------------------------------------------------------------------------------


def test_the_class_token_stands_beside_the_mean_of_the_patches():
    pool, tokens = neck(Neck()), numbers(3, 1 + 16, 64)
    assert pool.width == 128
    assert torch.equal(pool(tokens)[:, :64], tokens[:, 0])
    assert torch.allclose(pool(tokens)[:, 64:], tokens[:, 1:].sum(1) / 16, atol=1e-6)


def test_registers_are_left_out_and_without_a_class_token_the_mean_stands_alone():
    pool, tokens = neck(Neck(), backbone("timm:test_vit2")), numbers(3, 1 + 16, 64)
    assert pool.width == 64
    assert torch.allclose(pool(tokens), tokens[:, 1:].sum(1) / 16, atol=1e-6)


def test_kept_patches_are_the_ones_that_count():
    pool, tokens = neck(Neck()), numbers(3, 1 + 5, 64)
    assert torch.allclose(pool(tokens)[:, 64:], tokens[:, 1:].sum(1) / 5, atol=1e-6)


def test_a_map_gives_the_mean_of_its_places():
    on = backbone("cnn:3")
    pool, features = neck(Neck(), on), on(numbers(2, 3, 64, 64))
    assert pool.width == 128
    assert torch.allclose(pool(features), features.flatten(2).sum(2) / 64, atol=1e-6)


@pytest.mark.parametrize("kind", ["pool", "conv-lstm"])
def test_dropout_is_on_the_vector_and_only_in_training(kind):
    how = Neck(kind=kind, width=64, dropout=0.5)
    made, tokens = neck(how), numbers(40, 17, 64)
    plain = made(tokens)
    assert (plain != 0).all()
    dropped = made.train()(tokens)
    gone = dropped == 0
    assert 0.4 < gone.float().mean() < 0.6
    assert torch.allclose(dropped[~gone], plain[~gone] * 2, atol=1e-5)


# -- the ConvLSTM cell -------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_by_loops(weight, bias, x, hidden, memory):
    """One step of Shi et al.'s equation 3 without peepholes, place by place; x (c, h, w), state (width, h, w)."""
    width, down, across = hidden.shape
    seen = np.pad(np.concatenate([x, hidden]), ((0, 0), (1, 1), (1, 1)))
    new_hidden, new_memory = np.empty_like(hidden), np.empty_like(memory)
    for row in range(down):
        for column in range(across):
            window = seen[:, row : row + 3, column : column + 3]
            sums = [(weight[gate] * window).sum() + bias[gate] for gate in range(4 * width)]
            for channel in range(width):
                into, kept, candidate, out = (sums[gate * width + channel] for gate in range(4))
                held = sigmoid(kept) * memory[channel, row, column] + sigmoid(into) * np.tanh(candidate)
                new_memory[channel, row, column] = held
                new_hidden[channel, row, column] = sigmoid(out) * np.tanh(held)
    return new_hidden, new_memory


def test_the_cell_is_what_loops_over_places_give():
    torch.manual_seed(3)
    cell, xs = ConvLstmCell(3, 2), numbers(4, 1, 3, 4, 5)
    hidden = memory = torch.zeros(1, 2, 4, 5)
    weight, bias = cell.gates.weight.detach().numpy(), cell.gates.bias.detach().numpy()
    by_hand = np.zeros((2, 4, 5), np.float32), np.zeros((2, 4, 5), np.float32)
    with torch.no_grad():
        for x in xs:
            hidden, memory = cell(x, hidden, memory)
            by_hand = step_by_loops(weight, bias, x[0].numpy(), *by_hand)
    assert np.abs(hidden[0].numpy() - by_hand[0]).max() < 1e-6
    assert np.abs(memory[0].numpy() - by_hand[1]).max() < 1e-6


def test_two_steps_at_one_place_worked_out_by_hand():
    cell = ConvLstmCell(1, 1)
    with torch.no_grad():
        cell.gates.weight.zero_()
        cell.gates.weight[2, 0, 1, 1] = 1  # the candidate is tanh(x + hidden)
        cell.gates.weight[2, 1, 1, 1] = 1
        cell.gates.bias.copy_(torch.tensor([0.0, 0, 0, 0]))  # every gate is half open
        x = torch.ones(1, 1, 1, 1)
        hidden, memory = cell(x, torch.zeros_like(x), torch.zeros_like(x))
        assert memory.item() == pytest.approx(0.5 * math.tanh(1))
        assert hidden.item() == pytest.approx(0.5 * math.tanh(0.5 * math.tanh(1)))
        _, again = cell(x, hidden, memory)
    assert again.item() == pytest.approx(0.5 * 0.5 * math.tanh(1) + 0.5 * math.tanh(1 + hidden.item()))


def test_the_forget_gate_begins_open():
    assert ConvLstmCell(3, 2).gates.bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


# -- the pyramid and attention -----------------------------------------------------------------------------------------


def test_a_pyramid_joins_means_of_means_from_coarse_to_fine():
    pyramid = Pyramid(1, 1)
    with torch.no_grad():
        for lateral, smooth in zip(pyramid.lateral, pyramid.smooth, strict=True):
            for layer in (lateral, smooth):
                layer.weight.zero_()
                layer.bias.zero_()
                layer.weight[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1
        x = np.arange(16, dtype=np.float32).reshape(4, 4)
        levels = [level[0, 0].numpy() for level in pyramid(torch.from_numpy(x)[None, None])]
    half = np.array([[x[:2, :2].mean(), x[:2, 1:4].mean()], [x[1:4, :2].mean(), x[1:4, 1:4].mean()]])
    quarter = half.mean()
    assert np.allclose(levels[0], [[quarter]])
    assert np.allclose(levels[1], half + quarter)
    assert np.allclose(levels[2], x + (half + quarter).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (7, 7), (10, 6), (11, 11)])
def test_every_size_of_map_has_three_levels(shape):
    levels = Pyramid(4, 6)(numbers(2, 4, *shape))
    halved = [-(-side // 2) for side in shape], [-(-side // 4) for side in shape]
    assert [level.shape[2:] for level in levels] == [torch.Size(halved[1]), torch.Size(halved[0]), torch.Size(shape)]
    assert {level.shape[:2] for level in levels} == {torch.Size([2, 6])}


@pytest.mark.parametrize(("width", "heads"), [(12, 6), (256, 8), (7, 7), (11, 1)])
def test_attention_is_torchs_multi_head_attention(width, heads):
    torch.manual_seed(4)
    attention, theirs = SelfAttention(width), nn.MultiheadAttention(width, heads, batch_first=True)
    assert attention.heads == heads
    with torch.no_grad():
        theirs.in_proj_weight.copy_(attention.asked.weight)
        theirs.in_proj_bias.copy_(attention.asked.bias)
        theirs.out_proj.weight.copy_(attention.out.weight)
        theirs.out_proj.bias.copy_(attention.out.bias)
        x = numbers(3, 9, width)
        assert torch.allclose(attention(x), theirs(x, x, x)[0], atol=1e-6)


# -- the whole conv-lstm neck ------------------------------------------------------------------------------------------


def test_the_neck_is_its_pieces_one_after_the_other():
    on = backbone("cnn:3")
    made, x = neck(on=on), numbers(2, 128, 8, 8)
    with torch.no_grad():
        coarse, middle, fine = made.pyramid(x)
        states = torch.zeros(2, 12, 8, 8), torch.zeros(2, 12, 8, 8)
        for level, factor in ((coarse, 4), (middle, 2), (fine, 1)):
            states = made.cell(level.repeat_interleave(factor, 2).repeat_interleave(factor, 3), *states)
        places = states[0].reshape(2, 12, 64).permute(0, 2, 1)
        wanted = made.norm(places + made.attention(places)).mean(1)
        assert made(x).shape == (2, made.width) == (2, 12)
        assert torch.allclose(made(x), wanted, atol=1e-6)


def test_patches_lie_row_by_row_behind_the_class_token():
    made, tokens = neck(), numbers(2, 1 + 16, 64)
    laid = made.laid_out(tokens)
    assert laid.shape == (2, 64, 4, 4)
    for row, column in ((0, 0), (0, 3), (2, 1)):
        assert torch.equal(laid[:, :, row, column], tokens[:, 1 + 4 * row + column])
    with torch.no_grad():
        made.grid = None
        on_map = made(laid)
        made.grid = (4, 4)
        assert torch.allclose(made(tokens), on_map, atol=1e-6)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_efficientnet", "cnn:3"])
def test_every_weight_of_the_neck_learns(name):
    on = backbone(name)
    made = neck(on=on).train()
    made(on(numbers(2, 3, 64, 64)).detach()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    silent = [name for name, p in made.named_parameters() if not p.grad.any()]
    assert silent == []


def test_dropped_patches_have_no_place_in_the_neck():
    made = neck(on=backbone(size=160))
    with pytest.raises(TrainingError) as refused:
        made(numbers(2, 1 + 81, 64))  # a square number of patches, but not where they were
    assert str(refused.value) == (
        "the conv-lstm neck needs the whole grid of 10 x 10 patches and got 81; "
        "leave patch_dropout away, or take the pool neck"
    )


def test_tokens_without_a_grid_and_necks_without_width_are_refused():
    on = backbone()
    on.grid = (0, 0)
    with pytest.raises(TrainingError, match="conv-lstm neck needs patches in a square grid, which this backbone lacks"):
        make_neck(CONV_LSTM, on)
    with pytest.raises(TrainingError, match="the conv-lstm neck has a width of 0; give at least 1"):
        make_neck(Neck(kind="conv-lstm", width=0), backbone())
