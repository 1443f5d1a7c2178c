"""Runs that go on: after any interruption as if there had been none, and from the network of another run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from painted_works import paint
from safetensors.torch import load_file, save_file
from torch_operators import torch

from simsearch.classifier.finetune import phased
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.held_out import merit
from simsearch.classifier.finetune.network import load_network
from simsearch.classifier.finetune.recipe import Cache, Contrast, Distill, Neck, Part, Phase, Recipe, Task
from simsearch.classifier.finetune.start import earlier_run, trunk_digest, weights_digest
from simsearch.classifier.finetune.state import read_place, write_tensors
from simsearch.classifier.finetune.train import Run, train
from simsearch.errors import TrainingError
from simsearch.watch import silent

RECIPE = Recipe(
    "long", "timm:test_vit", input_size=32, batch_size=6, held_out=0.25, ema=0.9, drop_path=0.2, views=2, seed=3,
    tasks={"style": Task(), "genre": Task(0.5, "instance", "softmax")}, neck=Neck(dropout=0.2),
    parts=(Part("semantic", 8), Part("instance", 8, 0.5)), contrast=(Contrast(part="instance"),),
    distill=(Distill("other"),), augment=Augment(photo=0.2),
    phases=(Phase(1, "head", head_lr=1e-2), Phase(2, "all", 1e-3, 1e-2, 0.8, patch_dropout=0.5, mix=0.5)),
)  # fmt: skip
SMALL = Recipe("small", "cnn:3", input_size=16, tasks={"style": Task()}, parts=(Part(dim=8),), batch_size=12,
               phases=(Phase(1, "all", 1e-3, 1e-2),))  # fmt: skip
KEPT = ("network.safetensors", "objective.safetensors", "phase-1.safetensors", "phase-2.safetensors")


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("painted"), 16)


@pytest.fixture(autouse=True)
def saved_at_every_step(monkeypatch):
    monkeypatch.setattr(phased, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(phased, "LOG_EVERY", 1)


def teacher(works):
    return np.random.default_rng(2).normal(size=(len(works), 5)).astype(np.float32)


def trained(recipe, works, folder, watch=silent):
    teachers = [teacher(works)] * len(recipe.distill)
    return train(recipe, works, teachers, folder / "run", device="cpu", precision="float32", watch=watch)


def begun(recipe, works, folder):
    """A run that has not made a step."""
    return Run(
        recipe, works, [teacher(works)] * len(recipe.distill), folder / "run", "cpu", "float32", False, None, silent
    )


class Stop:
    """Interrupts a run where it says this for the nth time, counted from 1."""

    def __init__(self, what, nth):
        self.what, self.left = what, nth

    def __call__(self, what, done, of):
        self.left -= what == self.what
        if not self.left:
            raise KeyboardInterrupt


def losses(folder):
    """(phase, step) to the loss that was logged last."""
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {(line["phase"], line["step"]): line["loss"] for line in lines if "step" in line}


def same(one, other, names=KEPT):
    return [n for n in names if (one / "run" / n).read_bytes() != (other / "run" / n).read_bytes()] == []


# -- after an interruption ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["files", "cache"])
def whole(request, works, tmp_path_factory):
    """(recipe, the folder of a run that nothing interrupted)."""
    recipe = replace(RECIPE, cache=Cache(2, 2) if request.param == "cache" else Cache())
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phased, "LOG_EVERY", 1)
        trained(recipe, works, folder)
    return recipe, folder


def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(whole, works, tmp_path):
    """In the middle of either phase, while an epoch is measured, and after the last."""
    recipe, folder = whole
    steps = len(losses(folder))
    assert steps == 6
    ends = ("phase 1", 1), ("phase 2", 2), ("measuring", 1), ("phase 2", 1), ("measuring", 2), ("measuring", 2)
    for what, nth in ends:
        with pytest.raises(KeyboardInterrupt):
            trained(recipe, works, tmp_path, Stop(what, nth))
    done = trained(recipe, works, tmp_path)
    assert same(folder, tmp_path)
    assert losses(tmp_path) == losses(folder)
    card, other = (json.loads((f / "run" / "network.json").read_text(encoding="utf-8")) for f in (folder, tmp_path))
    assert other["steps"] == card["steps"] == steps
    assert done.figures == card["figures"]


def test_the_best_epoch_is_known_after_an_interruption(works, tmp_path):
    """Decay takes the weights away, so that the first epoch is the best. While one is measured the state is the one
    before its last step, or the epoch's figures would never be known."""
    decay = Phase(3, "all", 3e-2, 3e-2, weight_decay=30, warmup=0.9)
    recipe = replace(SMALL, ema=0, held_out=0.4, patience=5, phases=(decay,), batch_size=6)
    trained(recipe, works, tmp_path / "whole")
    lines = (tmp_path / "whole" / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    merits = [merit(line["held_out"]) for line in map(json.loads, lines) if "held_out" in line]
    assert merits[0] == max(merits)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, works, tmp_path / "cut", Stop("measuring", 2))
    place = read_place(tmp_path / "cut" / "run")
    assert (place["step"], place["best"]) == (3, pytest.approx(merits[0], abs=1e-4)), "of two steps an epoch"
    trained(recipe, works, tmp_path / "cut")
    names = ("network.safetensors", "objective.safetensors", "best-1.safetensors")
    assert same(tmp_path / "whole", tmp_path / "cut", names)


def test_before_anything_was_saved_a_run_begins_anew(works, tmp_path, monkeypatch):
    monkeypatch.setattr(phased, "SAVE_EVERY_S", 1e9)
    trained(SMALL, works, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(SMALL, works, tmp_path / "cut", Stop("phase 1", 1))
    assert read_place(tmp_path / "cut" / "run") is None
    trained(SMALL, works, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut", KEPT[:3])


def test_a_cache_that_was_being_filled_is_filled_up_and_serves_the_next_run(works, tmp_path):
    recipe = replace(RECIPE, cache=Cache(3, 1), phases=(Phase(1, "head"),))
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, works, tmp_path, Stop("view 1", 1))
    filled = []
    trained(recipe, works, tmp_path, lambda what, done, of: filled.append(what) if "view" in what else None)
    assert filled == [], "what was computed when it was interrupted is kept"
    (cache,) = tmp_path.glob("cache-*")
    written = (cache / "view-1.npy").stat().st_mtime_ns
    train(replace(recipe, name="next"), works, [teacher(works)], tmp_path / "next", device="cpu", precision="float32")
    assert [*tmp_path.glob("cache-*")] == [cache]
    assert (cache / "view-1.npy").stat().st_mtime_ns == written
    train(replace(recipe, seed=4), works, [teacher(works)], tmp_path / "other", device="cpu", precision="float32")
    assert len([*tmp_path.glob("cache-*")]) == 2, "other views and another trunk have a cache of their own"


def test_a_run_that_lost_its_network_measures_and_writes_it_again(works, tmp_path):
    first = trained(SMALL, works, tmp_path)
    kept = (tmp_path / "run" / "network.safetensors").read_bytes()
    for name in ("network.json", "network.safetensors"):
        (tmp_path / "run" / name).unlink()
    told = []
    again = trained(SMALL, works, tmp_path, lambda what, *_: told.append(what))
    assert set(told) == {"measuring"}
    assert again.figures == first.figures
    assert (tmp_path / "run" / "network.safetensors").read_bytes() == kept


def test_a_state_that_cannot_be_read_or_is_of_another_network_is_refused(works, tmp_path):
    trained(SMALL, works, tmp_path)
    state = tmp_path / "run" / "state.safetensors"
    with pytest.raises(TrainingError, match=r"state\.safetensors is of another network; begin anew with --restart"):
        trained(replace(SMALL, parts=(Part(dim=9),)), works, tmp_path)
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(TrainingError, match=r"state\.safetensors cannot be read \(.*\); begin anew with --restart"):
        trained(SMALL, works, tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors({"a": torch.arange(6.0).view(2, 3).T}, path)
    assert torch.equal(load_file(path)["a"], torch.arange(6.0).view(2, 3).T)
    before = path.read_bytes()
    (tmp_path / "weights.safetensors.part").mkdir()  # where the new one would be written
    with pytest.raises(
        TrainingError, match=r"weights\.safetensors cannot be written: .*; make room, or check its perm"
    ):
        write_tensors({"a": torch.zeros(9)}, path)
    assert path.read_bytes() == before


# -- from the network of another run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def earlier(works, tmp_path_factory):
    """The folder of a finished run, whose class directions differ from one another."""
    folder = tmp_path_factory.mktemp("earlier")
    trained(replace(RECIPE, phases=(Phase(1, "all", 1e-3, 1e-2),)), works, folder)
    return folder / "run"


def follows(earlier, **changes):
    return replace(RECIPE, **({"weights": str(earlier), "name": "next", "seed": 9} | changes))


def test_a_run_takes_over_the_network_and_what_was_learned_beside_it(works, earlier, tmp_path):
    run = begun(follows(earlier), works, tmp_path)
    stored, learned = load_file(earlier / "network.safetensors"), load_file(earlier / "objective.safetensors")
    for network in (run.network, run.average):
        own = network.state_dict()
        assert own.keys() == stored.keys()
        assert all(torch.equal(own[name], value) for name, value in stored.items())
    own = run.objective.state_dict()
    assert {name for name in own if torch.equal(own[name], learned[name])} == own.keys()


def test_class_directions_go_by_name(works, earlier, tmp_path):
    """Tide is gone, Vale is new, and Dawn is called Zenith now."""
    names = {"Tide": "", "Dawn": "Zenith"}
    styles = np.array([names.get(style, style) for style in works.labels["style"]], dtype="<U6")
    styles[:3] = "Vale"
    other = replace(works, labels={**works.labels, "style": styles})
    run = begun(follows(earlier, held_out=0, tasks={"style": Task(min_images=1)}), other, tmp_path)
    learned = load_file(earlier / "objective.safetensors")["layers.style.weight"]
    before = json.loads((earlier / "network.json").read_text(encoding="utf-8"))["classes"]["style"]
    assert run.objective.classes["style"] == ("Ember", "Moss", "Vale", "Zenith")
    for row, name in enumerate(run.objective.classes["style"]):
        own = run.objective.layers["style"].weight[row]
        same_as = [then for then, direction in zip(before, learned, strict=True) if torch.equal(own, direction)]
        assert same_as == ([name] if name in before else [])


def test_directions_for_another_part_and_maps_to_another_teacher_begin_anew(works, earlier, tmp_path):
    wider = (Part("semantic", 8), Part("instance", 8, 2.0))
    recipe = follows(earlier, parts=wider, tasks={"style": Task(part="instance")})
    rows = np.random.default_rng(1).normal(size=(len(works), 7)).astype(np.float32)
    run = Run(recipe, works, [rows], tmp_path / "run", "cpu", "float32", False, None, silent)
    learned = load_file(earlier / "objective.safetensors")
    assert not torch.equal(run.objective.layers["style"].weight, learned["layers.style.weight"])
    assert run.objective.maps[0].weight.shape == (7, 8)


def test_a_run_may_go_on_at_another_size(works, earlier, tmp_path):
    """Only the position embedding differs, which timm resamples: three by three patches for two by two."""
    run = begun(follows(earlier, input_size=48), works, tmp_path)
    stored, own = load_file(earlier / "network.safetensors"), run.network.state_dict()
    differ = [name for name in own if own[name].shape != stored[name].shape or not torch.equal(own[name], stored[name])]
    assert differ == ["backbone.network.pos_embed"]
    assert own["backbone.network.pos_embed"].shape[1] == 3 * 3 + 1
    here, there = own["backbone.network.pos_embed"], stored["backbone.network.pos_embed"]
    assert torch.equal(here[:, 0], there[:, 0]), "the class token's own"
    assert torch.allclose(here[:, 5], there[:, 1:].mean(1), atol=1e-5), "the middle is the mean of all four"


def test_going_on_begins_as_good_as_the_run_before_was(works, earlier, tmp_path):
    still = Phase(1, "head", head_lr=0, weight_decay=0)
    done = trained(follows(earlier, phases=(still,), seed=RECIPE.seed), works, tmp_path)
    before = json.loads((earlier / "network.json").read_text(encoding="utf-8"))
    assert done.figures == pytest.approx(before["figures"])
    card = json.loads((tmp_path / "run" / "network.json").read_text(encoding="utf-8"))
    assert card["base_weights"] == weights_digest(str(earlier)) == weights_digest(str(earlier / "network.safetensors"))
    (tmp_path / "run").rename(tmp_path / "moved")
    assert load_network(tmp_path / "moved").recipe.weights == str(earlier), "it is read without them"


def test_a_network_of_another_make_is_refused(works, earlier, tmp_path):
    for changes in (
        {"backbone": "timm:test_vit2"}, {"backbone": "timm:test_resnet", "cache": Cache()},
        {"parts": (Part("semantic", 9), Part("instance", 8))}, {"neck": Neck("conv-lstm", 8)},
        {"parts": (Part("semantic", 8), Part("instance", 8), Part("third", 8))},
    ):  # fmt: skip
        with pytest.raises(TrainingError) as caught:
            begun(follows(earlier, **changes), works, tmp_path)
        assert str(caught.value) == (
            f"{earlier} holds a network of another make (timm:test_vit); begin from one with the same backbone, neck "
            "and parts"
        )


def test_a_run_that_has_not_ended_is_no_beginning(works, earlier, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(SMALL, works, tmp_path / "cut", Stop("phase 1", 1))
    with pytest.raises(TrainingError, match=r"run holds no finished run: it has no network\.json; let `simsearch fine"):
        begun(follows(tmp_path / "cut" / "run"), works, tmp_path)


def test_damaged_files_of_the_run_before_are_named(works, earlier, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("network.json", "network.safetensors"):
        (copy / name).write_bytes((earlier / name).read_bytes())
    begun(follows(copy), works, tmp_path)  # without what was learned beside it
    (copy / "objective.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TrainingError, match=r"objective\.safetensors cannot be read \(.*\); take it away to begin wi"):
        begun(follows(copy), works, tmp_path)
    (copy / "network.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TrainingError, match="copy holds no network that can be read: "):
        load_network(copy)
    state = load_file(earlier / "network.safetensors")
    save_file(
        {name: value for name, value in state.items() if "neck" not in name and "norm" not in name}, copy / KEPT[0]
    )
    with pytest.raises(TrainingError, match=r"copy holds no network that can be read: .*Missing key"):
        load_network(copy)
    (copy / "network.json").write_text('["odd"]', encoding="utf-8")
    with pytest.raises(TrainingError, match="copy holds no network that can be read: "):
        load_network(copy)


def test_what_weights_are(tmp_path, monkeypatch):
    """A folder called hub is no run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    assert [earlier_run(name) for name in ("hub", "none", "no/such.safetensors")] == [None] * 3
    assert str(earlier_run(str(tmp_path / "hub"))) == str(tmp_path / "hub")
    assert [weights_digest(name) for name in ("hub", "none")] == ["hub", "none"]


def test_the_digest_of_a_trunk_is_of_what_stands_below_the_cut(works, tmp_path):
    network = begun(RECIPE, works, tmp_path).network
    before = [trunk_digest(network.backbone, below) for below in (2, 3)]
    with torch.no_grad():
        network.backbone.network.blocks[2].mlp.fc1.bias[0] += 1
    after = [trunk_digest(network.backbone, below) for below in (2, 3)]
    assert after[0] == before[0]
    assert after[1] != before[1] != before[0]
