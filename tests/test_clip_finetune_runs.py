"""Runs of a CLIP: interrupted and gone on with, refused with a sentence, and the command from labels to text search."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from labelled_works import indexed, painted, write_table
from painted_works import paint
from safetensors.torch import load_file
from tiny_clip import tiny_clip_checkpoint, tiny_clip_folder
from torch_operators import torch

from simsearch import open_collection
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.choose import Changes, bare_recipe, changed, find_recipes
from simsearch.classifier.finetune.clip.sections import Captions, Lora, Wise
from simsearch.classifier.finetune.clip.train import ClipRun, tune
from simsearch.classifier.finetune.recipe import Contrast, Phase, Recipe, Task, as_data, recipe_of
from simsearch.classifier.finetune.runs import works_for
from simsearch.cli import main
from simsearch.errors import EncoderError, TrainingError
from simsearch.show.tradeoff import trade_off_plot
from simsearch.watch import silent

CALM = Augment(crop=0.9, colour=0, hue=0, gray=0, blur=0, jpeg=0, rotate=0, resample=0, letterbox=0)
RECIPE = Recipe(
    "tiny", "clip:", tasks={}, captions=Captions(labels=("style", "genre")), augment=CALM, batch_size=6, held_out=0.25,
    phases=(Phase(1, "head", head_lr=1e-3), Phase(1, "all", lr=1e-3)), wise=Wise(alphas=(0.5, 1.0)), seed=3,
)  # fmt: skip
LORA = replace(RECIPE, lora=Lora(2, dropout=0.1), phases=(Phase(2, "all", lr=1e-2),))
LONG = "a very long text about bars and fields " * 20


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_clip_folder(tmp_path_factory.mktemp("start") / "clip")


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("painted"), 24)


def on(recipe, start):
    return replace(recipe, backbone=f"clip:{start}")


def tuned(recipe, works, folder, **more):
    return tune(recipe, works, folder, device="cpu", precision="float32", **({"notice": lambda _: None} | more))


# -- stopping and going on ---------------------------------------------------------------------------------------------


class Stopped(Exception):
    """What stops a run in a test, as Ctrl-C would."""


@pytest.mark.parametrize("recipe", [RECIPE, LORA], ids=["all", "lora"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(recipe, start, works, tmp_path, monkeypatch):
    recipe = on(recipe, start)
    whole = tuned(recipe, works, tmp_path / "whole")
    monkeypatch.setattr("simsearch.classifier.finetune.phased.SAVE_EVERY_S", 0.0)
    calls = iter(range(100))

    def stop(what, done, of):
        if what.startswith("phase") and next(calls) == 4:
            raise Stopped

    with pytest.raises(Stopped):
        tuned(recipe, works, tmp_path / "stopped", watch=stop)
    assert not (tmp_path / "stopped" / "network.json").exists()
    done = tuned(recipe, works, tmp_path / "stopped")
    one, other = (load_file(run.clip / "open_clip_model.safetensors") for run in (whole, done))
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.figures == done.figures


def test_the_best_epoch_comes_back_where_patience_ends_a_phase(start, works, tmp_path):
    recipe = replace(on(RECIPE, start), patience=1, phases=(Phase(6, "all", lr=0.0, head_lr=0.0),))
    done = tuned(recipe, works, tmp_path / "run")
    epochs = [json.loads(line) for line in (done.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len([line for line in epochs if "held_out" in line]) == 2  # nothing learns, so the second is no better
    original, kept = (load_file(path / "open_clip_model.safetensors") for path in (start, done.clip))
    assert all(torch.allclose(original[name], kept[name]) for name in original)


# -- what is refused ---------------------------------------------------------------------------------------------------


TOLD = {"captions": {"labels": ["style"]}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "recipe 'r' tunes a CLIP and has nothing to tell it; give captions (a column, or labels), or tasks"),
        ({"captions": {"column": "title", "labels": ["style"]}}, "captions names a column and labels; give one"),
        ({"captions": {"column": "title", "templates": ["x"]}}, "captions has templates but no labels to fill them"),
        ({"captions": {"labels": ["style"], "templates": ["a {genre}"]}}, "each template needs fields of the labels"),
        ({"captions": {"labels": ["style"], "templates": ["a {style"]}}, "has a template whose braces do not close"),
        (TOLD | {"lora": {"r": 2, "targets": ["head"]}}, "lora.targets has 'head'; there are attention, mlp"),
        (TOLD | {"wise": {"alphas": [2]}}, "wise.alphas and wise.keep must be shares from 0 "),
        (TOLD | {"wise": {"retained": {"labels": ["style"]}}}, "captions that are not tuned"),
        (TOLD | {"cache": {"below": 2}}, "a CLIP is tuned without cache; leave cache away"),
        (TOLD | {"phases": [{"mix": 0.5}]}, "is tuned without patch_dropout and mix"),
        ({"captions": {"lables": ["style"]}}, "has a key 'lables' that no recipe knows; did you mean 'labels'"),
    ],
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_for_a_clip_is_refused(data, said):
    with pytest.raises(TrainingError) as caught:
        recipe_of({"name": "r", "backbone": "clip:ViT-B-32/openai"} | data, "a.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [TOLD, {"lora": {"r": 2}}])
def test_a_network_without_a_text_tower_takes_no_captions(key):
    with pytest.raises(
        TrainingError, match=r"timm:test_vit has no text tower, and (captions|lora) is for a CLIP; take"
    ):
        recipe_of({"name": "r", "backbone": "timm:test_vit"} | key, "a.yaml")
    with pytest.raises(TrainingError, match="captions are for a CLIP, and recipe 'cnn3_kinds' has the backbone cnn:3"):
        changed(find_recipes("cnn3_kinds")[0], Changes(column="title"))


def test_a_clip_never_begins_with_random_numbers(works, tmp_path):
    recipe = replace(RECIPE, backbone="clip:ViT-B-32", weights="none")
    with pytest.raises(EncoderError, match=r"clip:ViT-B-32 names no weights"):
        tuned(recipe, works, tmp_path / "run")


def test_another_size_than_the_models_own_is_refused(start, works, tmp_path):
    with pytest.raises(TrainingError, match=r"takes pictures of 32 x 32 pixels, not 64; leave input_size away"):
        tuned(replace(on(RECIPE, start), input_size=64), works, tmp_path / "run")


def test_captions_that_are_cut_are_counted_in_one_sentence(start, works, tmp_path):
    texts = np.array([LONG + str(i) if i < 3 else f"work {i}" for i in range(len(works))])
    told = replace(works, texts={"note": texts})
    recipe, said = replace(on(RECIPE, start), captions=Captions(column="note")), []
    ClipRun(recipe, told, tmp_path / "run", "cpu", "float32", False, 1, silent, said.append)
    assert said == ["3 of 24 captions are longer than the 77 tokens that the text tower reads; they are cut"]


def test_works_without_captions_of_their_own_are_no_reason_to_stop(start, works, tmp_path):
    texts = np.array(["" if i % 2 else f"work {i}" for i in range(len(works))])
    recipe = replace(on(RECIPE, start), captions=Captions(column="note"), phases=(Phase(1, "all"),))
    done = tuned(recipe, replace(works, texts={"note": texts}), tmp_path / "run")
    assert 0 <= done.figures["captions_r10"] <= 1
    with pytest.raises(TrainingError, match="no work has a caption by 'note'"):
        tuned(recipe, replace(works, texts={"note": np.full(len(works), "")}), tmp_path / "other")


def test_contrast_and_tasks_go_with_captions(start, works, tmp_path):
    recipe = replace(
        on(RECIPE, start), tasks={"style": Task(loss="softmax")}, contrast=(Contrast(label="genre"),),
        phases=(Phase(1, "30%"),),
    )  # fmt: skip
    done = tuned(recipe, works, tmp_path / "run")
    lines = [json.loads(line) for line in (done.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert set(lines[0]["losses"]) == {"captions", "style", "contrast 1 genre"}


# -- recipes and options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip_lpft", "clip_lora"])
def test_the_shipped_recipes_take_other_models_and_captions(name, tmp_path):
    (recipe,) = find_recipes(name)
    assert recipe_of(json.loads(json.dumps(as_data(recipe))), "x") == recipe
    made = changed(recipe, Changes(tasks=("style",), settings=("lora.r=4", "wise.alphas=[]")))
    assert (made.captions, made.tasks, made.lora.r) == (Captions(labels=("style",)), {}, 4)
    assert changed(recipe, Changes(column="title")).captions == Captions(column="title")
    with pytest.raises(TrainingError, match="captions come from a column or from labels"):
        changed(recipe, Changes(column="title", tasks=("style",)))


def test_a_clip_alone_makes_a_recipe():
    made = bare_recipe("clip:ViT-B-16/openai")
    assert (made.name, made.backbone, made.tasks) == ("ViT-B-16-openai", "clip:ViT-B-16/openai", {})
    assert made.phases == find_recipes("clip_lpft")[0].phases


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a collection of 24 painted works, half of which have a note."""
    folder = tmp_path_factory.mktemp("painted")
    rows = [row | {"note": f"note {i}" if i % 2 else ""} for i, row in enumerate(painted(folder, works=24))]
    write_table(folder / "art" / "artworks.csv", rows)
    return indexed(folder)


def command(*arguments, status=0):
    done = CliRunner().invoke(main, ["finetune", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


def test_the_command_tunes_on_labels_and_says_where_the_encoder_is(place, tmp_path, monkeypatch):
    place = shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(place)
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    fast = ("--epochs", 1, "--batch-size", 8, "--device", "cpu", "--precision", "float32", "--steps", 2)
    asked = ("--backbone", f"clip:{architecture}", "--weights", weights, "--label", "style", "--name", "mine", *fast)
    done = command(*asked, "--plot", tmp_path / "plots", "--json")
    (run,) = json.loads(done.stdout)["recipes"]
    assert run["encoder"] == f"clip:{place / '.simsearch' / 'finetune' / 'mine' / 'clip'}"
    assert run["tradeoff"]["chosen"] == run["alpha"]
    assert (tmp_path / "plots" / "mine-tradeoff.png").read_bytes()[:4] == b"\x89PNG"
    assert trade_off_plot(run["tradeoff"], "mine") == trade_off_plot(run["tradeoff"], "mine")
    refused = command(*asked, status=1)
    assert "run 'mine' is finished; give another --name" in refused.output
    index = CliRunner().invoke(main, ["index", "--encoder", run["encoder"], str(place / "art")])
    assert index.exit_code == 0, index.output
    exported = CliRunner().invoke(main, ["export-encoder", "mine", "models/mine", "--check", "4", "--json"])
    assert exported.exit_code == 0, exported.output
    assert (place / "models" / "mine" / "text.onnx").is_file()  # both towers, by the name of the run


def test_the_command_tunes_on_a_column(place, start, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    asked = ("--backbone", f"clip:{start}", "--name", "notes", "--device", "cpu", "--steps", 1, "--batch-size", 4)
    done = command(*asked, "--caption-column", "note")
    assert "chosen" in done.output
    assert "encoder     clip:" in done.output
    wrong = command(*asked, "--caption-column", "nota", "--name", "other", status=1)
    assert "no work of this collection has a text in the column 'nota' to be its caption" in wrong.output
    assert "did you mean 'note'?" in wrong.output


def test_only_works_with_a_caption_are_taken(place, start):
    recipe = replace(on(RECIPE, start), captions=Captions(column="note"))
    with open_collection(place) as collection:
        works = works_for(collection, [recipe], split="none")
    assert (works.texts["note"] != "").all()
    assert len(works) <= 12
