"""A teacher that looks at every view: what a student is told of a view is what its teacher makes of that view."""

import json
from dataclasses import replace

import numpy as np
import pytest
from painted_works import paint
from torch_operators import torch

from simsearch.classifier.finetune import augment
from simsearch.classifier.finetune.augment import Augment, is_photograph, view
from simsearch.classifier.finetune.held_out import divided
from simsearch.classifier.finetune.recipe import Cache, Distill, Part, Phase, Recipe, Task
from simsearch.classifier.finetune.train import Run, train
from simsearch.classifier.finetune.trunk import PLAIN_VIEW, pixels_of
from simsearch.encoders.registry import load_encoder
from simsearch.errors import TrainingError
from simsearch.images import decode, fit, read_bytes
from simsearch.watch import silent

HOW = Augment(photo=0.4, resample=0, jpeg=0, blur=0)
VIEWS = 2
RECIPE = Recipe(
    "looked", "timm:test_vit", input_size=32, tasks={"style": Task(loss="softmax")}, parts=(Part(dim=8),), augment=HOW,
    views=2, cache=Cache(1, VIEWS), batch_size=8, held_out=0.25, phases=(Phase(1, "all", 1e-3, 3e-3),), seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    every = paint(tmp_path_factory.mktemp("painted"))
    return every.take(np.arange(len(every)) < 24)


@pytest.fixture(scope="module")
def network(tmp_path_factory, tiny_network):
    return tiny_network(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture(scope="module")
def plain(works, network):
    """What the tiny network says of every work, (n, 48), as a teacher's file would hold it."""
    encoder = load_encoder(str(network))
    to = encoder.info.preprocessing
    pixels = [fit(decode(read_bytes(path), str(path), side=to.size), to) for path in works.paths]
    return encoder.embed_images(np.stack(pixels))


def recipe(network, **more):
    return replace(RECIPE, distill=(Distill("teacher.npz", encoder=str(network), **more),))


def begun(recipe, works, plain, folder):
    return Run(recipe, works, [plain], folder / "run", "cpu", "float32", False, None, silent)


def test_what_is_told_of_a_view_is_what_the_teacher_makes_of_that_very_view(works, network, plain, tmp_path):
    encoder = load_encoder(str(network))
    run = begun(recipe(network), works, plain, tmp_path)
    learn, _ = divided(works, RECIPE)
    mean, told, seen = plain[learn].mean(0), run.teachers[0], 0
    for number in range(VIEWS + 1):
        found = told.rows(learn, np.full(len(learn), number)).numpy()
        for work, row in zip(learn, found, strict=True):
            key = int(works.keys[work])
            drawn = number != PLAIN_VIEW and not is_photograph(HOW, np.random.default_rng([RECIPE.seed, key, number]))
            said = plain[work]
            if drawn:
                pixels = pixels_of(works.paths[work], key, number, HOW, encoder.info.preprocessing, RECIPE.seed)
                said, seen = encoder.embed_images(pixels[None])[0], seen + 1
            away = said - mean
            assert row == pytest.approx(away / np.linalg.norm(away), abs=2e-3)
    assert len(learn) < seen < VIEWS * len(learn), "some of the drawn views are photographs"


def test_a_step_is_told_of_its_own_views(works, network, plain, tmp_path):
    """Views of a batch have numbers of their own, so a batch's rows are those of single questions."""
    run = begun(recipe(network), works, plain, tmp_path)
    learn, _ = divided(works, RECIPE)
    numbers = np.arange(len(learn)) % (VIEWS + 1)
    together = run.teachers[0].rows(learn, numbers)
    alone = [run.teachers[0].rows(learn[i : i + 1], numbers[i : i + 1]) for i in range(len(learn))]
    assert torch.equal(together, torch.cat(alone))


def test_a_run_learns_from_it_and_makes_what_is_missing_once(works, network, plain, tmp_path):
    asked = []
    done = train(recipe(network), works, [plain], tmp_path / "run", device="cpu", precision="float32",
                 watch=lambda what, done, of: asked.append(what))  # fmt: skip
    assert done.figures
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "regression 1 teacher" in next(line["losses"] for line in lines if "losses" in line)
    assert len(list(tmp_path.glob("cache-*"))) == 2, "activations of the trunk, and what the teacher said"
    before = asked.count("view 1")
    begun(recipe(network), works, plain, tmp_path)
    assert asked.count("view 1") == before
    assert begun(replace(recipe(network), seed=4), works, plain, tmp_path).teachers
    assert len(list(tmp_path.glob("cache-*"))) == 4, "other views are other questions"


def test_columns_of_the_teacher_are_those_of_its_views_too(works, network, plain, tmp_path):
    run = begun(recipe(network, columns=(8, 20)), works, plain[:, 8:20], tmp_path)
    learn, _ = divided(works, RECIPE)
    assert run.teachers[0].rows(learn, np.full(len(learn), 1)).shape == (len(learn), 12)


def test_an_encoder_that_did_not_make_the_embeddings_is_refused(works, network, plain, tmp_path, tiny_network):
    other = tiny_network(tmp_path / "other", flipped=True)
    for encoder in (other, "color"):
        with pytest.raises(TrainingError) as refused:
            begun(recipe(encoder), works, plain, tmp_path)
        assert str(refused.value) == (
            f"{encoder} is not the encoder that made the embeddings of teacher.npz: it gives other ones; name the "
            "right one, or leave encoder away"
        )
    with pytest.raises(TrainingError, match=r"the teacher cannot look at views: there is no encoder 'nowhere'"):
        begun(recipe("nowhere"), works, plain, tmp_path)


def test_without_a_cache_views_are_new_each_time_so_no_teacher_can_have_looked_at_them(network):
    with pytest.raises(TrainingError, match=r"recipe 'looked': a teacher can look at every view only where they are"):
        replace(recipe(network), cache=Cache())


@pytest.mark.parametrize("how", [HOW, replace(HOW, flip=0), replace(HOW, randaugment="rand-m5-n1"), Augment()])
def test_photographs_are_told_from_other_views_without_making_them(works, how, monkeypatch):
    made, real = [], augment.photographed
    monkeypatch.setattr(augment, "photographed", lambda image, draw: made.append(True) or real(image, draw))
    picture = decode(read_bytes(works.paths[0]), "a work").image
    said = []
    for number in range(40):
        before = len(made)
        view(picture, how, 24, np.random.default_rng([1, number]))
        assert is_photograph(how, np.random.default_rng([1, number])) == (len(made) > before)
        said.append(len(made) > before)
    assert any(said) == bool(how.photo)
