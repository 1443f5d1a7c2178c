"""Training on painted works: it learns, what stays stays, the average is kept, and the best epoch comes back."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from painted_works import paint
from safetensors.torch import load_file
from torch_operators import torch

from simsearch.classifier.finetune import phased
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.backbones import load_backbone, normalised
from simsearch.classifier.finetune.held_out import divided, merit
from simsearch.classifier.finetune.network import Network, load_network
from simsearch.classifier.finetune.recipe import Cache, Contrast, Distill, Part, Phase, Recipe, Task, as_data
from simsearch.classifier.finetune.schedule import rate_at
from simsearch.classifier.finetune.start import centred
from simsearch.classifier.finetune.state import read_place
from simsearch.classifier.finetune.train import Run, train
from simsearch.classifier.finetune.trunk import pixels_of
from simsearch.errors import TrainingError
from simsearch.records import Preprocessing
from simsearch.watch import silent

CALM = Augment(colour=0.1, hue=0, gray=0, blur=0, jpeg=0, rotate=0, resample=0, letterbox=0)
TINY = Recipe(
    "tiny", "cnn:3", input_size=16, tasks={"style": Task(loss="softmax")}, parts=(Part(dim=16),), augment=CALM,
    batch_size=12, held_out=0.25, ema=0.5, phases=(Phase(2, "all", 1e-3, 3e-3),), seed=1,
)  # fmt: skip
VIT = replace(TINY, backbone="timm:test_vit", input_size=32)
RESNET = replace(TINY, backbone="timm:test_resnet", input_size=32)


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("painted"))


@pytest.fixture
def few(works):
    return works.take(np.arange(len(works)) < 24)


def trained(recipe, works, folder, teachers=(), **more):
    return train(recipe, works, teachers, folder / "run", device="cpu", **({"precision": "float32"} | more))


def run_of(recipe, works, folder, teachers=()):
    return Run(recipe, works, teachers, folder / "run", "cpu", "float32", False, None, silent)


def log(folder):
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def begun(recipe):
    """The network as a run of this recipe begins with it."""
    torch.manual_seed(recipe.seed)
    return Network(recipe, load_backbone(recipe))


def same(one, other, part=""):
    """Names of tensors that are equal to the last bit, and of those that are not."""
    names = [name for name in one if name.startswith(part)]
    equal = {name for name in names if torch.equal(one[name], other[name])}
    return equal, set(names) - equal


def pixels(works, recipe, backbone):
    to = Preprocessing(recipe.input_size, recipe.resize, "bicubic", backbone.mean, backbone.std)
    views = [pixels_of(path, 0, 0, recipe.augment, to, 0) for path in works.paths]
    return normalised(torch.from_numpy(np.stack(views)), backbone)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_it_learns_what_can_be_seen(works, tmp_path, monkeypatch):
    """The ground's colour says the style, but for one work in eight; nobody's artist is known."""
    monkeypatch.setattr(phased, "LOG_EVERY", 1)
    unsigned = replace(works, artists=np.full(len(works), ""))
    recipe = replace(TINY, phases=(Phase(10, "all", 3e-3, 1e-2),))
    done = trained(recipe, unsigned, tmp_path)
    losses = [line["loss"] for line in log(tmp_path) if "loss" in line]
    assert len(losses) == 30
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    assert done.figures["style_chance"] == 0.25
    assert done.figures["style_accuracy"] > 0.55
    assert done.figures["style_p10"] > 0.4
    assert done.seconds > 0
    assert done.images_per_s > 0


def test_the_same_seed_gives_the_same_weights(few, tmp_path):
    recipe = replace(VIT, drop_path=0.2, phases=(Phase(1, "head"), Phase(1, "all", patch_dropout=0.5, mix=0.5)))
    files = [trained(r, few, tmp_path / f"{i}").folder for i, r in enumerate((recipe, recipe, replace(recipe, seed=2)))]
    first, second, other = (load_file(folder / "network.safetensors") for folder in files)
    assert not same(first, second)[1]
    assert {name for name in same(first, other)[1] if name.startswith("parts.")}


def test_the_folder_says_what_was_done(few, tmp_path):
    done = trained(replace(TINY, phases=(Phase(1, "head"), Phase(1.5, "all", warmup=0))), few, tmp_path)
    assert done.folder == tmp_path / "run"
    learn, held = divided(few, TINY)
    card = json.loads((done.folder / "network.json").read_text(encoding="utf-8"))
    steps = math.ceil(len(learn) / 12)
    assert card["steps"] == steps + round(1.5 * steps)
    assert card["works"] == {"learned_from": len(learn), "held_out": len(held), "digest": few.digest}
    assert card["figures"] == done.figures
    assert card["classes"]["style"] == ["Dawn", "Ember", "Moss", "Tide"]
    assert (card["dim"], card["base_weights"], card["device"]) == (16, "none", "cpu")
    assert card["parameters"] == done.parameters == sum(p.numel() for p in done.network.parameters())
    recipe = json.loads((done.folder / "recipe.json").read_text(encoding="utf-8"))
    assert recipe == card["recipe"] == json.loads(json.dumps(as_data(done.network.recipe)))
    assert {path.name for path in done.folder.iterdir()} == {
        "log.jsonl", "network.json", "network.safetensors", "objective.safetensors", "phase-1.safetensors",
        "phase-2.safetensors", "recipe.json", "state.safetensors",
    }  # fmt: skip
    lines = log(tmp_path)
    assert [(line["phase"], line["epoch"]) for line in lines if "held_out" in line] == [(1, 1), (2, 1), (2, 1.5)]
    steps = [line for line in lines if "step" in line]
    assert [(line["phase"], line["step"]) for line in steps] == [(1, 0), (2, 0)]
    assert steps[1]["lr"] == pytest.approx(1e-4)
    assert set(steps[0]) == {"phase", "epoch", "step", "lr", "loss", "losses", "images_per_s"}
    assert set(steps[0]["losses"]) == {"style"}


def test_max_steps_bounds_each_phase(few, tmp_path):
    told = []
    recipe = replace(TINY, phases=(Phase(5, "head"), Phase(5)))
    trained(recipe, few, tmp_path, max_steps=2, watch=lambda *said: told.append(said))
    assert [said for said in told if said[0].startswith("phase")] == [
        ("phase 1", 1, 2), ("phase 1", 2, 2), ("phase 2", 1, 2), ("phase 2", 2, 2),
    ]  # fmt: skip


# -- what learns -------------------------------------------------------------------------------------------------------


def test_with_the_head_alone_the_backbone_stays_to_the_last_bit(few, tmp_path):
    """Statistics of batch norms too."""
    recipe = replace(RESNET, phases=(Phase(2, "head", head_lr=1e-2),))
    done = trained(recipe, few, tmp_path).network.state_dict()
    before = begun(recipe).state_dict()
    assert not same(before, done, "backbone.")[1]
    assert any(name.endswith("running_mean") for name in before)
    assert same(before, done, "parts.")[1]


def test_with_a_share_only_the_layers_nearest_the_output_learn(few, tmp_path):
    recipe = replace(VIT, drop_path=0.3, phases=(Phase(1, "25%", lr=1e-3),))
    run = run_of(recipe, few, tmp_path)
    run.finish()
    equal, moved = same(begun(recipe).state_dict(), run.average.state_dict(), "backbone.")
    learning = ("backbone.network.blocks.4.", "backbone.network.blocks.5.", "backbone.network.norm.")
    assert all(name.startswith(learning) for name in moved)
    assert {name for name in equal if name.startswith(learning)} == set()
    blocks = run.network.backbone.network.blocks
    assert [block.drop_path1.training for block in blocks] == [False] * 4 + [True] * 2
    assert run.network.neck.training


def test_batch_statistics_of_what_learns_reach_the_network_that_is_kept(few, tmp_path):
    run = run_of(replace(RESNET, phases=(Phase(1, "all"),)), few, tmp_path)
    run.finish()
    ours, before = run.network.state_dict(), begun(RESNET).state_dict()
    statistics = [name for name in ours if "running" in name]
    assert statistics
    assert all(torch.equal(ours[name], run.average.state_dict()[name]) for name in statistics)
    assert not any(torch.equal(ours[name], before[name]) for name in statistics)


def test_the_rate_follows_the_schedule(few, tmp_path, monkeypatch):
    monkeypatch.setattr(phased, "LOG_EVERY", 1)
    trained(replace(TINY, phases=(Phase(3, "all", 1e-3, warmup=0.4),)), few, tmp_path)
    rates = [line["lr"] for line in log(tmp_path) if "lr" in line]
    assert rates == pytest.approx([1e-3 * rate_at(step, len(rates), 0.4) for step in range(len(rates))])
    assert max(rates) == 1e-3


def test_a_phase_in_which_nothing_learns_is_refused(few, tmp_path):
    recipe = replace(
        TINY, tasks={}, parts=(Part(dim=0),), contrast=(Contrast(),), views=2, phases=(Phase(1, "head"),)
    )  # fmt: skip
    with pytest.raises(TrainingError, match="nothing learns in phase 1 of recipe 'tiny'; give its parts a dim, or tra"):
        trained(recipe, few, tmp_path)


# -- the average -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ema", "kept"), [(0.15, (0.1, 0.15, 0.15)), (0.999, (1 / 10, 2 / 11, 3 / 12)), (0, (0, 0, 0))]
)
def test_the_average_follows_the_weights(few, tmp_path, ema, kept):
    """It keeps (1 + s) / (10 + s) of itself at step s, but never more than `ema`."""
    recipe = replace(TINY, ema=ema, phases=(Phase(2, "all", 1e-2, 1e-2),))
    name, steps = "parts.semantic.weight", []

    def watch(what, done, of):
        if what == "phase 1":
            steps.append(tuple(net.state_dict()[name].clone() for net in (run.network, run.average)))

    run = Run(recipe, few, [], tmp_path / "run", "cpu", "float32", False, 3, watch)
    mean = run.average.state_dict()[name].clone()
    run.finish()
    for (now, average), keep in zip(steps, kept, strict=True):
        mean = keep * mean + (1 - keep) * now
        assert torch.allclose(average, mean, atol=1e-6)
        assert torch.equal(average, now) == (ema == 0)


def test_the_average_catches_up_with_what_no_longer_learns(few, tmp_path):
    recipe = replace(TINY, ema=0.5, phases=(Phase(1, "all", 1e-2), Phase(16, "head")))
    run = run_of(recipe, few, tmp_path)
    run.finish()
    name = "backbone.network.blocks.0.0.weight"
    assert torch.allclose(run.average.state_dict()[name], run.network.state_dict()[name], atol=1e-6)


# -- the best epoch ----------------------------------------------------------------------------------------------------


def test_patience_ends_a_phase_without_progress(few, tmp_path):
    """Nothing moves: the first epoch is the best, and the two after it are no better."""
    still = Phase(9, "head", head_lr=0, weight_decay=0)
    trained(replace(TINY, patience=2, phases=(still, replace(still, epochs=2))), few, tmp_path)
    assert [(line["phase"], line["epoch"]) for line in log(tmp_path) if "held_out" in line] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2),
    ]  # fmt: skip


def test_the_weights_of_the_best_epoch_come_back(works, tmp_path):
    """Decay takes all weights away while the rate rises, so that later epochs know less and less."""
    decay = Phase(5, "all", 3e-2, 3e-2, weight_decay=30, warmup=1)
    recipe = replace(TINY, ema=0, patience=9, phases=(replace(decay, warmup=0.9),))
    run = run_of(recipe, works, tmp_path)
    done = run.finish()
    epochs = [line["held_out"] for line in log(tmp_path) if "held_out" in line]
    merits = [merit(figures) for figures in epochs]
    assert max(merits) > merits[-1]
    assert {name: round(value, 5) for name, value in done.figures.items()} == epochs[int(np.argmax(merits))]
    best = load_file(tmp_path / "run" / "best-1.safetensors")
    for kept in (done.network.state_dict(), run.network.state_dict()):  # the next phase would begin with the latter
        assert all(torch.equal(kept[name], best[name]) for name in kept)
    learned = run.objective.state_dict()
    assert all(torch.equal(learned[name], best[f"objective/{name}"]) for name in learned)


# -- embeddings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [VIT, replace(VIT, cache=Cache(2, 1)), TINY], ids=["vit", "cached vit", "cnn"])
def test_the_network_that_was_kept_gives_the_same_unit_centred_embeddings(few, tmp_path, recipe):
    parts = (Part("semantic", 16), Part("instance", 8, 0.5))
    recipe = replace(recipe, parts=parts, phases=(Phase(1, "all", 1e-3, 1e-2),))
    done = trained(recipe, few, tmp_path)
    loaded = load_network(tmp_path / "run")
    assert loaded.recipe == recipe
    assert not loaded.training
    images = pixels(few, recipe, loaded.backbone)
    with torch.inference_mode():
        rows, each = loaded.embed(images), loaded(images)
        assert torch.equal(rows, done.network.embed(images))
    assert rows.shape == (24, loaded.dim) == (24, 24)
    assert torch.allclose(rows.norm(dim=1), torch.ones(24), atol=1e-6)
    assert torch.allclose(rows[:, 16:].norm(dim=1) / rows[:, :16].norm(dim=1), torch.full((24,), 0.5), atol=1e-5)
    joined = [(each[p.name] - loaded.centre(p.name)).numpy() for p in parts]
    joined = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in joined]
    assert rows.numpy() == pytest.approx(np.hstack([joined[0], 0.5 * joined[1]]) / math.sqrt(1.25), abs=1e-5)
    learn, _ = divided(few, recipe)
    for name, part in each.items():
        assert torch.allclose(part[learn].mean(0), loaded.centre(name), atol=2e-3)
        assert loaded.centre(name).abs().max() > 0


def test_a_teacher_is_centred_on_what_is_learned_from():
    rows = np.random.default_rng(0).normal(3, 1, (6, 4)).astype(np.float32)
    found = centred(rows, np.array([0, 2, 5]))
    wanted = rows - rows[[0, 2, 5]].mean(0)
    assert found == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True), abs=1e-5)
    assert found.dtype == np.float32
    assert np.isfinite(centred(np.ones((3, 2), np.float32), np.arange(3))).all()


def test_a_teacher_is_imitated(works, tmp_path, monkeypatch):
    """It says the mean colour of a work."""
    monkeypatch.setattr(phased, "LOG_EVERY", 1)
    colours = pixels(works, TINY, begun(TINY).backbone).mean((2, 3)).numpy()
    recipe = replace(
        TINY, tasks={}, distill=(Distill("colours", relation=1.0),), phases=(Phase(8, "all", 1e-3, 1e-2),)
    )  # fmt: skip
    done = trained(recipe, works, tmp_path, [colours])
    lines = [line["losses"] for line in log(tmp_path) if "losses" in line]
    assert set(lines[0]) == {"regression 1 colours", "relation 1 colours"}
    for name in lines[0]:
        assert np.mean([line[name] for line in lines[-3:]]) < 0.6 * lines[0][name]
    assert done.figures == {}, "without labels nothing is said of them"


# -- works without labels ----------------------------------------------------------------------------------------------


def test_works_that_lack_a_label_are_left_to_the_other_tasks(works, tmp_path):
    genres = np.where(np.arange(len(works)) % 3 == 0, works.labels["genre"], "")
    partly = replace(works, labels={**works.labels, "genre": genres}, artists=np.full(len(works), ""))
    recipe = replace(TINY, tasks={"style": Task(), "genre": Task(loss="softmax")})
    run = run_of(recipe, partly, tmp_path)
    done = run.finish()
    _, held = divided(partly, recipe)
    assert done.figures["genre_works"] == (genres[held] != "").sum() < len(held) == done.figures["style_works"]
    assert run.labels["genre"].tolist() == [
        sorted(set(genres[genres != ""])).index(genre) if genre else -1 for genre in genres
    ]


def test_batches_without_any_label_teach_nothing_and_stop_nothing(works, tmp_path):
    styles = np.where(np.arange(len(works)) < 8, works.labels["style"], "")
    partly = replace(works, labels={"style": styles}, artists=np.full(len(works), ""))
    told = []
    recipe = replace(TINY, batch_size=2, held_out=0, phases=(Phase(1),))
    done = trained(recipe, partly, tmp_path, watch=lambda *said: told.append(said))
    assert ("phase 1", 24, 24) in told
    assert done.figures == {}


def test_a_contrast_may_know_labels_that_no_task_learns(few, tmp_path):
    recipe = replace(TINY, contrast=(Contrast(label="genre"),), phases=(Phase(1),))
    trained(recipe, few, tmp_path / "both")
    assert set(log(tmp_path / "both")[0]["losses"]) == {"style", "contrast 1 genre"}
    alone = trained(replace(recipe, tasks={}), few, tmp_path / "alone")
    assert set(alone.figures) == {"genre_p10", "genre_p10_other"}


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_run_with_advice(few, tmp_path):
    recipe = replace(TINY, phases=(Phase(1, "head"), Phase(2, "all", 1e30, 1e30, warmup=0)))
    with pytest.raises(TrainingError) as caught:
        trained(recipe, few, tmp_path)
    assert str(caught.value) == (
        "the loss of recipe 'tiny' is no longer a number at step 1 of phase 2; lower lr or head_lr, or train in float32"
    )
    assert read_place(tmp_path / "run")["phase"] == 1, "what was good before is kept"


def test_l1_draws_what_is_new_towards_nothing(few, tmp_path):
    plain, drawn = (
        trained(replace(TINY, ema=0, phases=(Phase(4, "head", head_lr=1e-2, l1=l1),)), few, tmp_path / f"{l1}").network
        for l1 in (0.0, 1.0)
    )
    assert drawn.parts["semantic"].weight.abs().sum() < 0.8 * plain.parts["semantic"].weight.abs().sum()


def test_a_place_that_cannot_be_written_is_named(few, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match=r"file/run/recipe\.json cannot be written: Not a directory"):
        trained(TINY, few, tmp_path / "file")


def test_in_bfloat16_weights_and_embeddings_stay_float32(few, tmp_path):
    done = trained(replace(VIT, phases=(Phase(1),)), few, tmp_path, precision="bfloat16")
    assert {value.dtype for value in done.network.state_dict().values()} == {torch.float32}
    with torch.inference_mode():
        rows = done.network.embed(pixels(few, VIT, done.network.backbone))
    assert rows.dtype == torch.float32
    assert torch.isfinite(rows).all()
