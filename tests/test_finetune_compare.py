"""Runs of the collection and recipes side by side: what is trained, what is refused, and figures worked out by hand."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from labelled_works import indexed, painted
from torch_operators import torch  # noqa: F401  the trainer imports it

from simsearch import open_collection
from simsearch.classifier.finetune.compare import CHANCE, MAJORITY, baselines, compare, same_question
from simsearch.classifier.finetune.held_out import divided
from simsearch.classifier.finetune.plan import plan
from simsearch.classifier.finetune.recipe import Contrast, Phase, Recipe, Task, steps_of
from simsearch.classifier.finetune.runs import (
    BEGUN,
    CARD,
    Means,
    finetune,
    finished,
    folder_of,
    read_log,
    standing,
    works_for,
)
from simsearch.classifier.finetune.works import Works
from simsearch.errors import TrainingError

MEANS = Means(device="cpu", precision="float32")
TINY = Recipe(
    "tiny", "cnn:3", input_size=16, tasks={"style": Task(loss="softmax")}, batch_size=16, held_out=0.3, ema=0.5,
    phases=(Phase(1, "head"), Phase(2, "all", 1e-3, 1e-3)), seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a collection of 60 painted works."""
    folder = tmp_path_factory.mktemp("painted")
    painted(folder, works=60)
    return indexed(folder)


@pytest.fixture
def place(original, tmp_path):
    """A copy of it to train in."""
    with open_collection(shutil.copytree(original, tmp_path / "place")) as collection:
        yield collection


@pytest.fixture
def works(place):
    return works_for(place, [TINY], split="none")


@pytest.fixture
def said():
    return []


def made_up(styles, artists=None, groups=None):
    """Works with these styles, of artists and near-duplicate groups of their own where none are given."""
    n = len(styles)
    return Works(
        [Path(f"{i}.png") for i in range(n)], np.arange(n, dtype=np.uint64), {"style": np.array(styles)},
        np.array(artists or [f"artist {i}" for i in range(n)]), np.full(n, ""),
        np.array(groups if groups is not None else range(n), np.int64),
    )  # fmt: skip


def stop_at(what, step):
    """A watch that interrupts the run there."""

    def watch(now, done, of):
        if now == what and done == step:
            raise KeyboardInterrupt

    return watch


# -- one run -----------------------------------------------------------------------------------------------------------


def test_a_run_is_kept_under_its_name_with_its_figures_and_its_log(place, works, said):
    done = finetune(place, TINY, works, means=MEANS, notice=said.append)
    learn, held = divided(works, TINY)
    assert done.folder == place.folder / "finetune" / "tiny"
    assert (done.learned_from, done.held_out) == (len(learn), len(held))
    assert {f"style_{name}" for name in ("accuracy", "f1", "p10", "p10_other")} <= set(done.figures)
    assert done.images_per_s > 0
    assert finished(done.folder) == done
    assert said == []
    lines = read_log(done.folder)
    assert [line["phase"] for line in lines] == sorted(line["phase"] for line in lines)
    assert [(line["phase"], line["epoch"]) for line in lines if "held_out" in line] == [(1, 1), (2, 1), (2, 2)]
    card = json.loads((done.folder / CARD).read_text(encoding="utf-8"))
    assert card["steps"] == sum(steps_of(TINY, len(learn)))
    assert standing(done.folder, TINY, works) == "finished"


def test_a_finished_run_is_not_overwritten_by_mistake(place, works, said):
    done = finetune(place, TINY, works, means=MEANS, notice=said.append)
    before = (done.folder / CARD).stat().st_mtime_ns
    with pytest.raises(TrainingError) as refused:
        finetune(place, TINY, works, means=MEANS)
    assert str(refused.value) == "run 'tiny' is finished; give another --name, or begin anew with --restart"
    assert (done.folder / CARD).stat().st_mtime_ns == before
    again = finetune(place, TINY, works, means=MEANS, begin="restart", notice=said.append)
    assert said == [f"what was in {done.folder} is replaced"]
    assert again.figures == done.figures, "the same seed gives the same network"


def test_a_run_is_kept_when_what_should_replace_it_cannot_be_learned(place, works, said):
    done = finetune(place, TINY, works, means=MEANS)
    with pytest.raises(TrainingError, match="style has 1 classes with 2 or more works to learn from; two are needed"):
        finetune(place, TINY, made_up(["Cubism"] * 20), means=MEANS, begin="restart", notice=said.append)
    assert finished(done.folder) == done
    assert said == []


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(place, works, said):
    whole = finetune(place, replace(TINY, name="whole"), works, means=MEANS)
    with pytest.raises(KeyboardInterrupt):
        finetune(place, TINY, works, means=MEANS, watch=stop_at("phase 2", 4))
    folder = folder_of(place, "tiny")
    assert standing(folder, TINY, works) == "unfinished"
    assert plan(place, TINY, works).standing == "unfinished"
    with pytest.raises(TrainingError, match="holds no finished run that can be read; begin it anew with --restart"):
        finished(folder)
    done = finetune(place, TINY, works, means=MEANS, begin="resume", notice=said.append)
    assert said == ["run 'tiny' goes on where it stopped"]
    assert done.figures == pytest.approx(whole.figures, abs=1e-6)
    own, others = (
        [(line["phase"], line["epoch"], line.get("loss")) for line in read_log(f)] for f in (folder, whole.folder)
    )
    assert own == others


def test_a_run_of_another_recipe_of_the_same_name_says_what_differs(place, works):
    finetune(place, TINY, works, means=Means("cpu", "float32", max_steps=1))

    def refused(recipe, on=works, steps=1):
        with pytest.raises(TrainingError) as caught:
            finetune(place, recipe, on, means=Means("cpu", "float32", max_steps=steps))
        return str(caught.value)

    way = "; give another --name, or begin anew with --restart"
    changed = replace(TINY, batch_size=8, phases=(replace(TINY.phases[0], lr=2e-4), TINY.phases[1]))
    assert refused(changed) == (
        "run 'tiny' was begun with another recipe (phases.0.lr 0.0001 then, 0.0002 now; batch_size 16 then, 8 now)"
        + way
    )
    assert "(tasks.genre.weight not given then, 1.0 now; " in refused(
        replace(TINY, tasks={**TINY.tasks, "genre": Task()}), works_for(place, [TINY], split="none")
    )
    assert "; 4 more)" in refused(replace(TINY, tasks={**TINY.tasks, "genre": Task()}))
    few = works.take(np.arange(len(works)) > 3)
    assert refused(TINY, few) == f"run 'tiny' was begun with other works ({len(works)} then, {len(few)} now)" + way
    other = replace(works, artists=np.roll(works.artists, 1))
    assert refused(TINY, other) == (
        "run 'tiny' was begun with other works (other labels, another split or other near-duplicates)" + way
    )
    assert refused(TINY, steps=None) == "run 'tiny' was begun with --steps 1" + way
    assert refused(TINY, steps=2) == "run 'tiny' was begun with --steps 1" + way


def test_a_run_that_failed_before_it_kept_anything_is_in_nobodys_way(place, works, said):
    with pytest.raises(TrainingError, match=r"none\.safetensors"):
        finetune(place, replace(TINY, weights="none.safetensors"), works, means=MEANS)
    folder = folder_of(place, "tiny")
    assert (folder / BEGUN).exists()
    assert standing(folder, TINY, works) == "new"
    finetune(place, TINY, works, means=replace(MEANS, max_steps=1), notice=said.append)
    assert said == []


def test_nothing_to_go_on_from(place, works):
    with pytest.raises(TrainingError, match="run 'tiny' has nothing to go on from; leave --resume away to begin it"):
        finetune(place, TINY, works, means=MEANS, begin="resume")
    assert not folder_of(place, "tiny").exists()


def test_files_of_somebody_else_are_left_alone(place, works):
    folder = folder_of(place, "tiny")
    folder.mkdir(parents=True)
    (folder / "letters.txt").write_text("dear")
    with pytest.raises(TrainingError, match="holds files that no run left; move them away, or replace them with --res"):
        finetune(place, TINY, works, means=MEANS)
    assert (folder / "letters.txt").read_text() == "dear"


def test_damaged_files_of_a_run_are_refused_with_a_way_out(place, works, said):
    means = replace(MEANS, max_steps=1)
    done = finetune(place, TINY, works, means=means)
    (done.folder / CARD).write_text("{")
    with pytest.raises(TrainingError, match="holds no finished run that can be read; begin it anew with --restart"):
        finished(done.folder)
    for text in ("{", "[]", "{}", '{"recipe": {}, "works": 3}'):
        (done.folder / BEGUN).write_text(text)
        with pytest.raises(TrainingError, match=rf"{BEGUN} cannot be read; begin the run anew with --restart"):
            standing(done.folder, TINY, works, 1)
    finetune(place, TINY, works, means=means, begin="restart", notice=said.append)
    assert finished(done.folder).name == "tiny"


def test_a_log_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path):
    lines = [{"phase": 1, "epoch": e, "step": s, "loss": x} for e, s, x in ((0, 0, 3.0), (1, 20, 2.0), (1, 20, 1.5))]
    lines.append({"phase": 1, "epoch": 1, "held_out": {"style_f1": 0.5}})
    text = "\n".join(map(json.dumps, lines)) + '\n{"phase": 2, "ep'
    (tmp_path / "log.jsonl").write_text("[]\n\n" + text, encoding="utf-8")
    assert read_log(tmp_path) == [lines[0], lines[3], lines[2]]
    assert read_log(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "-x", "a/b", "x" * 65, "cache-art", "naïve", "a b"])
def test_names_that_no_folder_should_have_are_refused(place, name):
    with pytest.raises(TrainingError, match=r"a run cannot be called .*; give it a --name of letters, digits, dots"):
        folder_of(place, name)


def test_two_processes_do_not_train_one_run(place, works):
    folder = folder_of(place, "tiny")
    folder.mkdir(parents=True)
    with (
        FileLock(folder / "run.lock"),
        pytest.raises(TrainingError, match="another process trains run 'tiny'; wait for it, or stop it"),
    ):
        finetune(place, TINY, works, means=MEANS)


def test_a_place_that_cannot_be_written_is_refused(place, unprivileged):
    code = (
        "import sys; from simsearch import open_collection\n"
        "from simsearch.classifier.finetune import runs\n"
        "from simsearch.classifier.finetune.choose import find_recipes\n"
        "with open_collection(sys.argv[1]) as c:\n"
        "    r = find_recipes('cnn_lstm'); runs.finetune(c, r[0], runs.works_for(c, r))\n"
    )
    folder = place.folder / "finetune"
    folder.mkdir()
    folder.chmod(0o555)
    try:
        done = subprocess.run(
            [*unprivileged, "-c", code, place.base], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
    finally:
        folder.chmod(0o755)
    assert "TrainingError: " in done.stderr.splitlines()[-1]
    assert "finetune/cnn_lstm cannot be written: Permission denied; check its permissions" in done.stderr


# -- plans -------------------------------------------------------------------------------------------------------------


def test_a_plan_counts_works_and_steps(place):
    works = works_for(place, [TINY])
    learn, held = divided(works, TINY)
    found = plan(place, TINY, works)
    assert (found.learned_from, found.held_out) == (len(learn), len(held))
    assert found.aside == (works.parts == "val").sum() > 0
    assert found.tasks == {"style": (4, len(learn), len(held))}
    assert found.steps == steps_of(TINY, len(learn))
    assert found.standing == "new"
    assert found.to_dict()["tasks"]["style"] == {"classes": 4, "learned_from": len(learn), "held_out": len(held)}
    assert not folder_of(place, "tiny").exists()


def test_steps_by_hand():
    recipe = replace(TINY, batch_size=10, phases=(Phase(0.01), Phase(1), Phase(2.5)))
    assert steps_of(recipe, 100) == (1, 10, 25)
    assert steps_of(recipe, 101) == (1, 10, 25), "a last batch of one work is left out"
    assert steps_of(recipe, 102) == (1, 11, 28)
    assert steps_of(recipe, 100, 12) == (1, 10, 12)
    assert steps_of(recipe, 5) == (1, 1, 2)
    for size in (-1, 0, 1):
        with pytest.raises(TrainingError, match=rf"recipe 'tiny': batch_size is {size}; at least 2 is needed"):
            replace(TINY, batch_size=size)


# -- recipes side by side ----------------------------------------------------------------------------------------------


def test_recipes_are_trained_on_the_same_works_in_the_order_that_was_asked_for(place, said):
    frozen = replace(TINY, name="frozen", phases=(Phase(1, "head"),))
    both = replace(TINY, name="both", tasks={"style": Task(loss="softmax"), "genre": Task(loss="softmax")})
    done = compare(place, [frozen, TINY, both], split="none", means=MEANS, notice=said.append)
    assert [run.name for run in done.runs] == ["frozen", "tiny", "both"]
    assert len({(run.learned_from, run.held_out) for run in done.runs}) == 1
    assert done.classes == {"style": 4, "genre": 3}
    assert list(done.baselines) == ["style", "genre"]
    assert done.runs[1] == finished(folder_of(place, "tiny"))
    assert {name for run in done.runs[:2] for name in run.figures if name.startswith("genre")} == set()
    for run in done.runs:
        assert run.figures["style_majority"] == pytest.approx(done.baselines["style"][MAJORITY]["accuracy"])
        assert run.figures["style_chance"] == pytest.approx(done.baselines["style"][CHANCE]["accuracy"])
    told = done.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert said == []


def test_runs_that_have_ended_are_taken_as_they_are_and_interrupted_ones_go_on(place, said):
    pair = [TINY, replace(TINY, name="second", seed=1)]
    with pytest.raises(KeyboardInterrupt):
        compare(place, pair, split="none", means=MEANS, watch=stop_at("second: phase 2", 1))
    first = finished(folder_of(place, "tiny"))
    done = compare(place, pair, split="none", means=MEANS, notice=said.append)
    assert said == ["run 'tiny' is finished, and taken as it is", "run 'second' goes on where it stopped"]
    assert done.runs[0] == first
    said.clear()
    compare(place, pair, split="none", means=replace(MEANS, max_steps=1), begin="restart", notice=said.append)
    assert [line.split()[-2:] for line in said] == [["is", "replaced"]] * 2


def test_a_comparison_that_makes_no_sense_is_refused_before_anything_is_trained(place):
    def refused(*recipes):
        with pytest.raises(TrainingError) as caught:
            compare(place, recipes, split="none", means=MEANS)
        return str(caught.value)

    other = replace(TINY, name="other")
    assert refused(TINY, TINY) == "two recipes are called 'tiny'; give each a name of its own"
    assert refused(TINY, replace(other, seed=2)) == (
        "recipes 'tiny' and 'other' would hold out different works (held_out 0.3, seed 1, first task style; "
        "held_out 0.3, seed 2, first task style); make them the same, for instance with --label, --seed and "
        "--set held_out=0.1"
    )
    assert refused(replace(TINY, held_out=0), replace(other, held_out=0)) == (
        "recipe 'tiny' holds no work out, so nothing can be compared; give it --set held_out=0.1"
    )
    assert not folder_of(place, "tiny").exists()


def test_a_run_in_the_way_stops_a_comparison_before_anything_is_trained(place, works):
    finetune(place, replace(TINY, name="second", batch_size=8), works, means=replace(MEANS, max_steps=1))
    with pytest.raises(TrainingError, match="run 'second' was begun with another recipe"):
        compare(place, [TINY, replace(TINY, name="second")], split="none", means=MEANS)
    assert not folder_of(place, "tiny").exists()


def test_works_of_a_contrast_are_looked_for_too(place):
    contrast = replace(TINY, name="c", contrast=(Contrast(label="artist"),))
    assert list(works_for(place, [TINY, contrast]).labels) == ["style", "artist"]


# -- what knows nothing ------------------------------------------------------------------------------------------------


def test_majority_and_chance_by_hand():
    works = made_up([*"AAAB", *"AABBC"])
    learn, held = np.arange(4), np.arange(4, 9)
    found = baselines(works, "style", learn, held, {"A": 3, "B": 1}, 0)
    # four works of a known class, two each; always A is right twice
    assert found[MAJORITY] == pytest.approx({"accuracy": 2 / 4, "f1": (2 * 2 / (4 + 2) + 0) / 2})
    f1 = 2 * 2 / (4 + 2 * 2)
    # C has nothing to find; of the four works that answer three are A and one is B, all by other artists
    p10 = (2 * 3 / 4 + 2 * 1 / 4) / 4
    assert found[CHANCE] == pytest.approx({"accuracy": 1 / 2, "f1": f1, "p10": p10, "p10_other": p10})


def test_chance_leaves_out_what_a_search_leaves_out():
    artists = ["x", "x", "y", "", "x", "", "z"]
    works = made_up([*"AABA", *"AAA"], artists, groups=[0, 1, 2, 3, 4, 5, 0])
    found = baselines(works, "style", np.arange(4), np.arange(4, 7), {"A": 3, "B": 1}, 0)[CHANCE]
    # 4: 3 of 4; 5: 3 of 4; 6 is a near-duplicate of 0: 2 of 3
    assert found["p10"] == pytest.approx((3 / 4 + 3 / 4 + 2 / 3) / 3)
    # of known other artists: 4 finds y alone, which is no A; 5 is nobody's; 6 finds 1 (A) and 2 (B)
    assert found["p10_other"] == pytest.approx(1 / 2)


def test_without_artists_there_is_no_figure_of_other_artists():
    works = made_up([*"AABB", *"AB"], [""] * 6)
    assert "p10_other" not in baselines(works, "style", np.arange(4), np.arange(4, 6), {"A": 2, "B": 2}, 0)[CHANCE]


def test_without_works_held_out_there_are_no_baselines():
    works = made_up([*"AABB"])
    empty = np.zeros(0, np.int64)
    assert baselines(works, "style", np.arange(4), empty, {"A": 2, "B": 2}, 0) == {MAJORITY: {}, CHANCE: {}}


def test_the_same_question():
    works = made_up([*"AABBAABBAABB"])
    learn, held, sizes = same_question([replace(TINY, tasks={"style": Task()})] * 2, works)
    assert sorted([*learn, *held]) == list(range(12))
    assert sizes == {"style": {name: int((works.labels["style"][learn] == name).sum()) for name in "AB"}}


def test_recipes_that_know_other_classes_are_refused():
    works = made_up([*"AB" * 20, *"C" * 6])
    with pytest.raises(TrainingError) as caught:
        same_question([TINY, replace(TINY, name="other", tasks={"style": Task(min_images=8)})], works)
    assert str(caught.value) == (
        "recipes 'tiny' and 'other' would know 3 and 2 classes of style; give both the same min_images, as in --set "
        "tasks.style.min_images=2"
    )
