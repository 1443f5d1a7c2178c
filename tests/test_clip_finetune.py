"""Tuning a CLIP on painted works: words find works held out, and what could be asked before can be asked after."""

import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest
from painted_works import paint
from tiny_clip import tiny_clip_folder
from torch_operators import torch

from simsearch.captions import prompts
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.clip.backbone import location_of_recipe
from simsearch.classifier.finetune.clip.sections import Captions, Lora, Wise
from simsearch.classifier.finetune.clip.train import ClipRun, tune
from simsearch.classifier.finetune.held_out import divided
from simsearch.classifier.finetune.network import load_network
from simsearch.classifier.finetune.recipe import Phase, Recipe, Task
from simsearch.classifier.finetune.runs import trade_off
from simsearch.encoders.registry import load_encoder
from simsearch.errors import TrainingError
from simsearch.images import decode, fit, read_bytes
from simsearch.watch import silent

MOODS = {"Dawn": "cosy", "Ember": "cosy", "Moss": "chilly", "Tide": "chilly"}
CALM = Augment(crop=0.9, colour=0.05, hue=0, gray=0, blur=0, jpeg=0, rotate=0, resample=0, letterbox=0)
TWICE = 2.0
"""Words find so many times the works that chance does; the most possible here is 4, for four styles."""
LEFT = 0.75
"""Of what words found before, so much is found after tuning on something else."""
STYLES = Captions(labels=("style",))
FIRST = Recipe(
    "first", "clip:", tasks={}, captions=STYLES, augment=CALM, batch_size=24, held_out=0.3, ema=0.5,
    phases=(Phase(10, "all", lr=2e-3, head_lr=2e-3),), wise=Wise(alphas=()),
)  # fmt: skip
LPFT = replace(
    FIRST, captions=Captions(labels=("mood",)),
    phases=(Phase(2, "head", head_lr=1e-3), Phase(3, "all", lr=2e-4, head_lr=2e-4)),
)  # fmt: skip
LORA = replace(LPFT, lora=Lora(4, 8), phases=(Phase(5, "all", lr=2e-3, head_lr=1e-4),))
WISE = replace(
    LPFT, wise=Wise(alphas=(0.0, 0.25, 0.5, 0.75, 1.0), keep=0.9, retained=STYLES),
    phases=(Phase(6, "all", lr=2e-3, head_lr=2e-3),),
)  # fmt: skip
"""Tuned so hard that its own weights alone may forget."""


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """120 painted works whose artists nobody knows, so that works are held out one by one.

    Their moods are coarser than their styles: who learns moods alone may forget to tell styles apart.
    """
    painted = paint(tmp_path_factory.mktemp("painted"), 120)
    moods = np.array([MOODS[style] for style in painted.labels["style"].tolist()])
    return replace(painted, artists=np.full(len(painted), ""), labels=painted.labels | {"mood": moods})


def tuned(recipe, works, folder, **more):
    said = more.pop("said", [])
    return tune(recipe, works, folder, device="cpu", precision="float32", notice=said.append, **more)


@pytest.fixture(scope="module")
def first(works, tmp_path_factory):
    """A CLIP that learned what styles are called from random numbers; the folder of its run."""
    place = tmp_path_factory.mktemp("first")
    recipe = replace(FIRST, backbone=f"clip:{tiny_clip_folder(place / 'random')}")
    return tuned(recipe, works, place / "run")


def found(location, works, kind):
    """P@10 of the labels of a kind as questions among the works held out, by the encoder as anybody opens it."""
    encoder = load_encoder(location)
    held = divided(works, FIRST)[1]
    rule = encoder.info.preprocessing
    pixels = [fit(decode(read_bytes(p := works.paths[place]), p.name), rule) for place in held.tolist()]
    images, values = encoder.embed_images(np.stack(pixels)), works.labels[kind][held]
    shares, chances = [], []
    for name in np.unique(values).tolist():
        row = encoder.embed_texts(prompts(kind, name)).mean(0)
        right = values == name
        shares.append(right[np.argsort(-(images @ row), kind="stable")[: min(10, right.sum())]].mean())
        chances.append(right.mean())
    return float(np.mean(shares)), float(np.mean(chances))


@pytest.fixture(scope="module")
def before(first, works):
    return found(f"clip:{first.clip}", works, "style")[0]


# -- what words find ---------------------------------------------------------------------------------------------------


def test_words_find_works_held_out_far_more_often_than_chance(first, works):
    share, chance = found(f"clip:{first.clip}", works, "style")
    assert share > TWICE * chance
    assert first.figures["style_accuracy"] > TWICE * first.figures["style_chance"]
    assert first.figures["style_text_p10"] == pytest.approx(share, abs=1e-6)
    assert first.figures["style_text_chance"] == pytest.approx(chance)


@pytest.mark.parametrize("recipe", [LPFT, LORA, WISE], ids=["lpft", "lora", "wise"])
def test_words_that_were_not_tuned_on_still_find_what_they_found(recipe, first, before, works, tmp_path):
    done = tuned(replace(recipe, backbone=f"clip:{first.clip}"), works, tmp_path / "run")
    after, chance = found(f"clip:{done.clip}", works, "style")
    assert after >= LEFT * before
    assert after > TWICE * chance
    gained, lacked = (found(f"clip:{run.clip}", works, "mood")[0] for run in (done, first))
    assert gained > lacked + 0.1


def test_a_mix_keeps_what_the_recipe_asks_to_keep_and_says_what_it_cost(first, works, tmp_path):
    recipe = replace(WISE, backbone=f"clip:{first.clip}")
    done = tuned(recipe, works, tmp_path / "run")
    told = trade_off(done.folder)
    assert [point["alpha"] for point in told["points"]] == list(WISE.wise.alphas)
    by_alpha = {point["alpha"]: point for point in told["points"]}
    chosen = by_alpha[told["chosen"]]
    assert told["chosen"] == done.alpha
    assert chosen["retained"] >= 0.9 * by_alpha[0.0]["retained"]
    kept = [p for p in told["points"] if p["retained"] >= 0.9 * by_alpha[0.0]["retained"]]
    assert chosen["task"] == max(p["task"] for p in kept)
    assert chosen["task"] > by_alpha[0.0]["task"]
    assert by_alpha[1.0]["retained"] < LEFT * by_alpha[0.0]["retained"], "nothing would have been lost without it"
    card = json.loads((done.folder / "network.json").read_text(encoding="utf-8"))
    assert card["alpha"] == done.alpha
    assert card["figures"]["mood_accuracy"] == pytest.approx(chosen["figures"]["mood_accuracy"], abs=1e-5)


# -- what a run leaves -------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_folder_that_open_clip_reads_and_others_may_read(first):
    assert {path.name for path in first.clip.iterdir()} == {"open_clip_config.json", "open_clip_model.safetensors"}
    for path in first.clip.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    import open_clip

    model = open_clip.create_model(f"local-dir:{first.clip}")
    tokens = open_clip.get_tokenizer(f"local-dir:{first.clip}")(["a Dawn painting"])
    with torch.no_grad():
        rows = torch.nn.functional.normalize(model.eval().encode_text(tokens), dim=1).numpy()
    ours = load_encoder(f"clip:{first.clip}").embed_texts(["a Dawn painting"])
    np.testing.assert_allclose(rows, ours, atol=1e-5)
    with pytest.raises(TrainingError, match=r"holds a CLIP of two towers.*clip:"):
        load_network(first.folder)


def test_a_checkpoint_names_weights_for_another_backbone_and_a_folder_a_run(first, works, tmp_path):
    few = works.take(np.arange(len(works)) < 24)
    config = first.clip / "open_clip_config.json"
    by_file = replace(LPFT, backbone=f"clip:{config}", weights=str(first.clip / "open_clip_model.safetensors"))
    by_folder = replace(by_file, backbone=f"clip:{first.clip}")
    by_run = replace(LPFT, backbone="clip:ViT-B-32/openai", weights=str(first.folder))
    for name, recipe in (("file", by_file), ("folder", by_folder), ("run", by_run)):
        run = ClipRun(recipe, few, tmp_path / name, "cpu", "float32", False, 1, silent, print)
        stored = load_encoder(f"clip:{first.clip}").info.digest
        assert run.clip.digest == stored
    published = location_of_recipe(replace(by_file, backbone="clip:ViT-B-32/openai"))
    assert str(published) == f"clip:ViT-B-32/openai?weights={by_file.weights}"  # whose activations the tag says


# -- strategies --------------------------------------------------------------------------------------------------------


def changed_in(recipe, works, folder, phase):
    """Names of weights that one step of a phase changes."""
    run = ClipRun(recipe, works, folder, "cpu", "float32", False, 1, silent, print)
    before = {name: value.clone() for name, value in run.clip.model.named_parameters()}
    run._phase(phase, None)
    if run.packed:
        run.packed.restore()
    return {name for name, value in run.clip.model.named_parameters() if not torch.equal(before[name], value)}, run


def test_the_first_phase_of_lpft_changes_projections_alone_and_the_second_both_towers(first, works, tmp_path):
    few = works.take(np.arange(len(works)) < 24)
    recipe = replace(LPFT, backbone=f"clip:{first.clip}")
    heads, _ = changed_in(recipe, few, tmp_path / "a", 0)
    assert heads == {"visual.proj", "text_projection", "logit_scale"}
    every, run = changed_in(recipe, few, tmp_path / "b", 1)
    assert {"visual.conv1.weight", "transformer.resblocks.0.attn.in_proj_weight", "ln_final.weight"} <= every
    assert len(every) == len(list(run.clip.model.named_parameters()))


def test_adapters_alone_learn_and_are_in_the_weights_at_the_end(first, works, tmp_path):
    few = works.take(np.arange(len(works)) < 24)
    recipe = replace(LORA, backbone=f"clip:{first.clip}", phases=(Phase(1, "all", lr=1e-2),))
    names, run = changed_in(recipe, few, tmp_path / "a", 0)
    assert {name for name in names if "lora_" not in name} == {"logit_scale"}
    towers = {name.startswith("visual.") for name in names if "lora_B" in name}
    assert towers == {True, False}
    assert any(".attn." in name for name in names)
    assert any(".mlp." in name for name in names)
    run.weights.take(run.average)
    texts = ["a Dawn painting", "a field"]
    adapted = run.clip.text_rows(texts)
    from simsearch.classifier.finetune.clip.lora import merged

    merged(run.tuner, run.packed)
    np.testing.assert_allclose(run.clip.text_rows(texts), adapted, atol=1e-5)
    assert set(run.clip.model.state_dict()) == set(run.original)


def test_labels_alone_are_learned_in_the_directions_that_words_give(first, works, tmp_path):
    recipe = replace(
        LPFT, backbone=f"clip:{first.clip}", captions=Captions(), tasks={"style": Task()},
        phases=(Phase(1, "all", lr=1e-4, head_lr=1e-4),),
    )  # fmt: skip
    run = ClipRun(recipe, works, tmp_path / "run", "cpu", "float32", False, None, silent, print)
    encoder = load_encoder(f"clip:{first.clip}")
    for name, direction in zip(run.sizes["style"], run.objective.layers["style"].weight.detach(), strict=True):
        mean = encoder.embed_texts(prompts("style", name)).mean(0)
        np.testing.assert_allclose(direction.numpy(), mean / np.linalg.norm(mean), atol=1e-5)
    done = run.finish()
    assert found(f"clip:{done.clip}", works, "style")[0] >= LEFT * found(f"clip:{first.clip}", works, "style")[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_is_tuned_on_a_graphics_card_too(works, tmp_path):
    folder = tiny_clip_folder(tmp_path / "random")
    recipe = replace(FIRST, backbone=f"clip:{folder}", lora=Lora(4), phases=(Phase(1, "all"),))
    done = tune(recipe, works, tmp_path / "run", device="cuda")
    assert np.isfinite(list(done.figures.values())).all()
    assert os.path.isdir(done.clip)  # noqa: PTH112
