"""What a network is asked for while it learns: each formula by value, against numpy or worked out by hand."""

import numpy as np
import pytest
from torch_operators import torch

from simsearch.classifier.finetune.held_out import UNKNOWN
from simsearch.classifier.finetune.losses import (
    ClassLayer,
    Objective,
    Targets,
    class_weights,
    relation_loss,
    supervised_contrast,
    task_loss,
    view_contrast,
)
from simsearch.classifier.finetune.recipe import Contrast, Distill, Part, Recipe, Task

PLAIN = Task(label_smoothing=0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def rows(n, width, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def unit(n, width, seed=0):
    return torch.nn.functional.normalize(rows(n, width, seed), dim=1)


def log_likely(logits):
    logits = logits.double().numpy()
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


# -- labels ------------------------------------------------------------------------------------------------------------


def test_cross_entropy_of_two_works_by_hand():
    """Odds of 3 to 1 for the right class, then of 1 to 1."""
    logits = tensor([[np.log(3), 0], [0, 0]])
    loss = task_loss(logits, torch.tensor([0, 1]), torch.eye(2), PLAIN, torch.ones(2))
    assert loss.item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_smoothing_spreads_its_share_over_all_classes():
    """Of 0.2 each of four classes gets 0.05, so that the right one has 0.85."""
    logits = rows(3, 4)
    loss = task_loss(logits, torch.tensor([2, 0, 3]), torch.eye(3), Task(label_smoothing=0.2), torch.ones(4))
    wanted = np.full((3, 4), 0.05)
    wanted[np.arange(3), [2, 0, 3]] = 0.85
    assert loss.item() == pytest.approx(-(wanted * log_likely(logits)).sum(1).mean(), rel=1e-5)
    own = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0, 3]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(own.item(), rel=1e-5)


def test_unlabelled_works_count_nothing():
    logits, labels = rows(4, 3), torch.tensor([1, UNKNOWN, 0, UNKNOWN])
    task = Task(label_smoothing=0.1)
    loss = task_loss(logits, labels, torch.eye(4), task, torch.ones(3))
    alone = task_loss(logits[[0, 2]], labels[[0, 2]], torch.eye(2), task, torch.ones(3))
    assert loss.item() == pytest.approx(alone.item())
    assert task_loss(logits[[1, 3]], labels[[1, 3]], torch.eye(2), task, torch.ones(3)) is None


def test_a_mixed_view_is_asked_for_the_labels_of_both_works():
    """The first is 0.7 of a work of class 0 and 0.3 of one of class 2; the second is made the other way round."""
    logits, shares = rows(2, 3), tensor([[0.7, 0.3], [0.3, 0.7]])
    loss = task_loss(logits, torch.tensor([0, 2]), shares, PLAIN, torch.ones(3))
    likely = log_likely(logits)
    wanted = -(0.7 * likely[0, 0] + 0.3 * likely[0, 2] + 0.3 * likely[1, 0] + 0.7 * likely[1, 2]) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_a_view_mixed_with_an_unlabelled_work_counts_by_its_labelled_share():
    logits, shares = rows(2, 3), tensor([[0.8, 0.2], [0.4, 0.6]])
    loss = task_loss(logits, torch.tensor([1, UNKNOWN]), shares, PLAIN, torch.ones(3))
    likely = log_likely(logits)
    assert loss.item() == pytest.approx(-(0.8 * likely[0, 1] + 0.4 * likely[1, 1]) / 1.2, rel=1e-5)


def test_class_weights_weigh_works_and_not_the_whole():
    logits, labels, weights = rows(3, 3), torch.tensor([0, 0, 2]), tensor([0.5, 1, 2])
    loss = task_loss(logits, labels, torch.eye(3), PLAIN, weights)
    likely = log_likely(logits)
    assert loss.item() == pytest.approx(-(0.5 * likely[0, 0] + 0.5 * likely[1, 0] + 2 * likely[2, 2]) / 3, rel=1e-5)
    own = torch.nn.functional.cross_entropy(logits, labels, weights)
    assert loss.item() == pytest.approx(own.item(), rel=1e-5)
    doubled = task_loss(logits, labels, torch.eye(3), PLAIN, 2 * weights)
    assert doubled.item() == pytest.approx(loss.item())


def test_the_loss_of_one_who_knows_nothing_is_the_logarithm_of_the_classes():
    for task in (PLAIN, Task(label_smoothing=0.3)):
        loss = task_loss(torch.zeros(4, 5), torch.tensor([0, 1, 4, UNKNOWN]), torch.eye(4), task, torch.ones(5))
        assert loss.item() == pytest.approx(np.log(5))


def test_classes_of_the_same_weight_whatever_their_size():
    assert class_weights([10, 30, 60], "none").tolist() == [1, 1, 1]
    weights = class_weights([10, 30, 60], "weights")
    assert weights.dtype == torch.float32
    assert (weights * tensor([10, 30, 60])).tolist() == pytest.approx([100 / 3] * 3), "each class weighs the same"
    assert (weights * tensor([10, 30, 60])).sum().item() == pytest.approx(100), "a mean of one over the works"
    assert torch.isfinite(class_weights([0, 5], "weights")).all()


def test_logits_by_cosines_and_by_a_linear_layer():
    x = rows(4, 6)
    cosine, plain = ClassLayer(6, 3, Task(scale=10)), ClassLayer(6, 3, Task(loss="softmax"))
    directions, vectors = cosine.weight.detach().numpy(), x.numpy()
    wanted = vectors @ directions.T / np.outer(np.linalg.norm(vectors, axis=1), np.linalg.norm(directions, axis=1))
    assert cosine(x).detach().numpy() == pytest.approx(10 * wanted, abs=1e-5)
    assert [name for name, p in cosine.named_parameters() if p.requires_grad] == ["weight"]
    torch.nn.init.constant_(plain.bias, 2.0)
    assert plain(x).detach().numpy() == pytest.approx(vectors @ plain.weight.detach().numpy().T + 2, abs=1e-5)
    assert plain(x.bfloat16()).dtype == torch.float32


# -- neighbours --------------------------------------------------------------------------------------------------------


def test_the_contrast_of_two_views_of_two_works_by_hand():
    """Views of a work point the same way and works are at right angles: odds of e^(1/t) to 1, both ways."""
    loss = view_contrast(torch.eye(2), torch.eye(2), torch.eye(2), 0.5)
    assert loss.item() == pytest.approx(np.log(1 + np.exp(-2)))
    crossed = view_contrast(torch.eye(2), torch.eye(2).flip(0), torch.eye(2), 0.5)
    assert crossed.item() == pytest.approx(np.log(1 + np.exp(2)))


def test_the_contrast_of_views_is_cross_entropy_both_ways():
    one, other = unit(5, 4, 1), unit(5, 4, 2)
    there, back = log_likely(one @ other.T / 0.2), log_likely(other @ one.T / 0.2)
    wanted = -(np.diag(there).mean() + np.diag(back).mean()) / 2
    assert view_contrast(one, other, torch.eye(5), 0.2).item() == pytest.approx(wanted, rel=1e-5)


def test_a_mixed_view_belongs_to_both_of_its_works():
    one, other, shares = unit(3, 4, 1), unit(3, 4, 2), tensor([[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]])
    there, back = log_likely(one @ other.T / 0.3), log_likely(other @ one.T / 0.3)
    wanted = -((shares.numpy() * there).sum() + (shares.numpy().T * back).sum()) / 6
    assert view_contrast(one, other, shares, 0.3).item() == pytest.approx(wanted, rel=1e-5)


def test_supervised_contrast_is_equation_two_of_khosla():
    labels = [0, 1, 0, 2, 1, 0]
    z, t = unit(6, 4).double().numpy(), 0.4
    anchors = []
    for i in range(6):
        positives = [p for p in range(6) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        below = sum(np.exp(z[i] @ z[a] / t) for a in range(6) if a != i)
        anchors.append(-sum(np.log(np.exp(z[i] @ z[p] / t) / below) for p in positives) / len(positives))
    assert len(anchors) == 5, "the only work of its label has nobody to be near to"
    found = supervised_contrast(torch.tensor(z, dtype=torch.float32), torch.tensor(labels), t)
    assert found.item() == pytest.approx(np.mean(anchors), rel=1e-5)


def test_supervised_contrast_without_a_pair_is_nothing_and_has_a_gradient():
    z = unit(3, 4).requires_grad_()
    loss = supervised_contrast(z, torch.tensor([0, 1, 2]), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert (z.grad == 0).all()


def test_equal_relations_cost_nothing():
    """However the student's space is turned, moved or stretched."""
    wanted = torch.nn.functional.normalize(unit(6, 5) - unit(6, 5).mean(0), dim=1)
    turn = torch.linalg.qr(rows(5, 5, 3)).Q
    centred = wanted - wanted.mean(0)
    same = torch.nn.functional.normalize(centred, dim=1)
    assert relation_loss(7 * centred @ turn + 100, same, 0.2).item() == pytest.approx(0, abs=1e-4)
    assert relation_loss(rows(6, 5, 9), same, 0.2).item() > 0.1


def test_relations_are_a_divergence_of_similarities_to_the_others():
    student, wanted, t = rows(4, 3, 1), unit(4, 6, 2), 0.3
    own = student.double().numpy() - student.double().numpy().mean(0)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    teacher = wanted.double().numpy()
    total = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        p = np.exp([teacher[i] @ teacher[j] / t for j in others])
        q = np.exp([own[i] @ own[j] / t for j in others])
        p, q = p / p.sum(), q / q.sum()
        total += (p * np.log(p / q)).sum()
    assert relation_loss(student, wanted, t).item() == pytest.approx(total / 4, rel=1e-4)


# -- all of it ---------------------------------------------------------------------------------------------------------

RECIPE = Recipe(
    "all", "cnn:3", views=2,
    tasks={"style": Task(2.0), "kind of work": Task(0.5, "instance", "softmax")},
    parts=(Part("semantic", 5), Part("instance", 4)),
    contrast=(Contrast(0.25, "instance"), Contrast(3.0, label="style")),
    distill=(Distill("some/clip.npz", regression=1.5, relation=0.75), Distill("dino", "instance", regression=0.125)),
)  # fmt: skip
WIDTHS = {"semantic": 5, "instance": 4}
WEIGHTS = {
    "style": 2.0, "kind of work": 0.5, "contrast 1 views": 0.25, "contrast 2 style": 3.0,
    "regression 1 clip": 1.5, "relation 1 clip": 0.75, "regression 2 dino": 0.125,
}  # fmt: skip


def objective(recipe=RECIPE, teachers=(6, 3)):
    torch.manual_seed(4)
    classes = {kind: ["A", "B", "C"] for kind in recipe.tasks}
    return Objective(recipe, WIDTHS, classes, {kind: [5, 3, 2] for kind in classes}, teachers)


def batch(n=6, views=2, style=(0, 1, 0, 2, UNKNOWN, 1), work=(0, 0, 1, UNKNOWN, UNKNOWN, 2)):
    parts = [{name: rows(n, width, 10 * i + width) for name, width in WIDTHS.items()} for i in range(views)]
    labels = {"style": torch.tensor(style[:n]), "kind of work": torch.tensor(work[:n])}
    teachers = [[unit(n, 6, 5)] * views, [unit(n, 3, 6)] * views]
    return parts, Targets(labels, teachers, [torch.eye(n)] * views)


def test_the_whole_is_the_weighted_sum_of_its_terms():
    wanted = objective()
    losses = wanted(*batch())
    assert set(losses) == set(WEIGHTS)
    assert {name: wanted.weight(name) for name in losses} == WEIGHTS
    total = sum(WEIGHTS[name] * loss.item() for name, loss in losses.items())
    assert wanted.total(losses).item() == pytest.approx(total)
    assert wanted.total({}).item() == 0


def test_each_term_is_its_formula_averaged_over_the_views():
    wanted, (parts, targets) = objective(), batch()
    losses = wanted(parts, targets)
    normalised = [{name: torch.nn.functional.normalize(v, dim=1) for name, v in view.items()} for view in parts]
    layer, task, numbers = wanted.layers["style"], RECIPE.tasks["style"], targets.labels["style"]
    style = [task_loss(layer(view["semantic"]), numbers, torch.eye(6), task, torch.ones(3)) for view in parts]
    assert losses["style"].item() == pytest.approx(sum(style).item() / 2)
    views = view_contrast(normalised[0]["instance"], normalised[1]["instance"], torch.eye(6), 0.1)
    assert losses["contrast 1 views"].item() == pytest.approx(views.item())
    known = targets.labels["style"] != UNKNOWN
    both = torch.cat([view["semantic"][known] for view in normalised])
    near = supervised_contrast(both, targets.labels["style"][known].repeat(2), 0.1)
    assert losses["contrast 2 style"].item() == pytest.approx(near.item())
    relations = [relation_loss(view["semantic"], targets.teachers[0][0], 0.1) for view in parts]
    assert losses["relation 1 clip"].item() == pytest.approx(sum(relations).item() / 2)
    told = [torch.nn.functional.normalize(wanted.maps[1](view["instance"]), dim=1) for view in parts]
    apart = [1 - (rows.detach().numpy() * targets.teachers[1][0].numpy()).sum(1).mean() for rows in told]
    assert losses["regression 2 dino"].item() == pytest.approx(np.mean(apart), rel=1e-5)


def test_three_views_are_compared_in_pairs():
    wanted, (parts, targets) = objective(), batch(views=3)
    ends = [torch.nn.functional.normalize(view["instance"], dim=1) for view in parts]
    pairs = [view_contrast(ends[i], ends[j], torch.eye(6), 0.1).item() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert wanted(parts, targets)["contrast 1 views"].item() == pytest.approx(np.mean(pairs))


def test_regression_costs_nothing_where_the_map_gives_the_teacher():
    recipe = Recipe("d", "cnn:3", tasks={}, parts=(Part("instance", 4),), distill=(Distill("dino", "instance"),))
    wanted = Objective(recipe, {"instance": 4}, {}, {}, [3])
    teacher, mapping = unit(5, 3, 1), rows(3, 4, 2)
    part = teacher @ torch.linalg.pinv(mapping).T * 9  # of any length
    with torch.no_grad():
        wanted.maps[0].weight.copy_(mapping)
        wanted.maps[0].bias.zero_()
    losses = wanted([{"instance": part}], Targets({}, [[teacher]], [torch.eye(5)]))
    assert losses["regression 1 dino"].item() == pytest.approx(0, abs=1e-5)
    against = wanted([{"instance": -part}], Targets({}, [[teacher]], [torch.eye(5)]))
    assert against["regression 1 dino"].item() == pytest.approx(2, abs=1e-5)


def test_each_view_is_told_what_the_teacher_says_of_it():
    recipe = Recipe("d", "cnn:3", tasks={}, parts=(Part("instance", 4),), distill=(Distill("dino", "instance"),))
    wanted = Objective(recipe, {"instance": 4}, {}, {}, [3])
    parts, said = [{"instance": rows(5, 4, i)} for i in (1, 2)], [unit(5, 3, 3), unit(5, 3, 4)]
    eye = torch.eye(5)
    both = wanted(parts, Targets({}, [said], [eye, eye]))["regression 1 dino"]
    each = [
        wanted([part], Targets({}, [[row]], [eye]))["regression 1 dino"] for part, row in zip(parts, said, strict=True)
    ]
    assert both.item() == pytest.approx(sum(each).item() / 2)
    crossed = wanted(parts, Targets({}, [said[::-1]], [eye, eye]))["regression 1 dino"]
    assert abs(crossed.item() - both.item()) > 0.01


def test_a_mixed_view_is_told_what_the_teacher_thinks_of_both():
    recipe = Recipe("d", "cnn:3", tasks={}, parts=(Part("instance", 4),), distill=(Distill("dino", "instance"),))
    wanted = Objective(recipe, {"instance": 4}, {}, {}, [3])
    teacher, shares, part = unit(2, 3, 1), tensor([[0.75, 0.25], [0.25, 0.75]]), rows(2, 4, 2)
    found = wanted([{"instance": part}], Targets({}, [[teacher]], [shares]))["regression 1 dino"]
    target = shares.numpy() @ teacher.numpy()
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    told = wanted.maps[0](part).detach().numpy()
    told /= np.linalg.norm(told, axis=1, keepdims=True)
    assert found.item() == pytest.approx(1 - (told * target).sum(1).mean(), rel=1e-5)


def test_two_views_belong_together_by_the_works_that_they_share():
    wanted, (parts, targets) = objective(), batch()
    mixed = 0.7 * torch.eye(6) + 0.3 * torch.eye(6).roll(1, 0)
    other = 0.9 * torch.eye(6) + 0.1 * torch.eye(6).roll(2, 0)
    ends = [torch.nn.functional.normalize(view["instance"], dim=1) for view in parts]
    for shares in ([mixed, torch.eye(6)], [torch.eye(6), mixed], [mixed, other]):
        found = wanted(parts, Targets(targets.labels, targets.teachers, shares))["contrast 1 views"]
        belongs = [[sum(shares[0][i, k] * shares[1][j, k] for k in range(6)) for j in range(6)] for i in range(6)]
        assert found.item() == pytest.approx(view_contrast(*ends, tensor(belongs), 0.1).item(), rel=1e-5)


def test_mixed_views_take_no_part_in_supervised_contrast():
    wanted, (parts, targets) = objective(), batch()
    mixed = 0.6 * torch.eye(6) + 0.4 * torch.eye(6).roll(1, 0)
    one = wanted(parts, Targets(targets.labels, targets.teachers, [mixed, torch.eye(6)]))["contrast 2 style"]
    known = targets.labels["style"] != UNKNOWN
    rest = torch.nn.functional.normalize(parts[1]["semantic"][known], dim=1)
    assert one.item() == pytest.approx(supervised_contrast(rest, targets.labels["style"][known], 0.1).item())
    assert "contrast 2 style" not in wanted(parts, Targets(targets.labels, targets.teachers, [mixed, mixed]))


def test_terms_that_have_nothing_to_speak_of_are_absent():
    parts, targets = batch(style=(UNKNOWN,) * 6)
    assert set(WEIGHTS) - set(objective()(parts, targets)) == {"style", "contrast 2 style"}


def test_a_label_called_like_a_term_is_a_label():
    recipe = Recipe("odd", "cnn:3", tasks={"contrast": Task(7.0), "relation to Paris": Task(6.0)}, parts=(Part(dim=5),))
    wanted = objective(recipe, ())
    assert [wanted.weight(name) for name in recipe.tasks] == [7.0, 6.0]


def test_the_gradient_reaches_parts_directions_and_maps():
    wanted, (parts, targets) = objective(), batch()
    for view in parts:
        for part in view.values():
            part.requires_grad_()
    wanted.total(wanted(parts, targets)).backward()
    learned = {name: p.grad for name, p in wanted.named_parameters() if p.requires_grad}
    given = {f"{name} {i}": part.grad for i, view in enumerate(parts) for name, part in view.items()}
    for name, gradient in (learned | given).items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().sum() > 0, name
    assert "layers.style.bias" not in learned, "cosines have no bias"


def test_a_smaller_step_against_the_gradient_lowers_the_loss():
    wanted, (parts, targets) = objective(), batch()
    optimiser = torch.optim.SGD(wanted.parameters(), 0.05)
    said = []
    for _ in range(8):
        loss = wanted.total(wanted(parts, targets))
        said.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert said == sorted(said, reverse=True)
