"""``simsearch finetune``: what it prints, what it leaves, and how it refuses."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from labelled_works import indexed, painted
from PIL import Image
from torch_operators import torch

from simsearch import open_collection
from simsearch.classifier.finetune.recipe import Phase, recipe_of
from simsearch.classifier.finetune.runs import BEGUN, CARD, finished, folder_of
from simsearch.cli import main
from simsearch.show.finetuned import show_compared, show_plan

TINY = """\
backbone: cnn:3
input_size: 16
tasks:
  style: {loss: softmax}
phases:
  - {epochs: 1, train: head}
  - {epochs: 2, train: all, lr: 1e-3}
batch_size: 16
held_out: 0.3
ema: 0.5
"""
SEVERAL = """\
base: {backbone: "cnn:3", input_size: 16, tasks: {style: {loss: softmax}}, batch_size: 16, held_out: 0.3,
       phases: [{epochs: 1, train: all}]}
recipes:
  - {name: pooled}
  - {name: recurrent, neck: {kind: conv-lstm, width: 8}}
"""
ON_CPU = ("--device", "cpu", "--precision", "float32")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a collection of 60 painted works."""
    folder = tmp_path_factory.mktemp("painted")
    painted(folder, works=60)
    return indexed(folder)


@pytest.fixture
def place(original, tmp_path, monkeypatch):
    """A copy to train in, which is the working directory, with two files of recipes."""
    folder = shutil.copytree(original, tmp_path / "place")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "several.yaml").write_text(SEVERAL)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SIMSEARCH_COLLECTION", raising=False)
    return folder


@dataclass(frozen=True)
class Done:
    out: str
    err: list[str]

    @property
    def record(self):
        (line,) = self.out.splitlines()
        return json.loads(line)


def finetune(*arguments, status=0):
    """The command in this process, which has torch already."""
    done = CliRunner().invoke(main, ["finetune", *map(str, arguments)], prog_name="simsearch")
    assert done.exit_code == status, f"{done.output}\n{done.exception!r}"
    return Done(done.stdout, done.stderr.splitlines())


def refused(*arguments, status=1):
    """The one sentence that is said where nothing is trained."""
    done = finetune(*arguments, status=status)
    assert done.out == ""
    return done.err[-1]


def run_of(folder, name="tiny"):
    with open_collection(folder) as collection:
        return finished(folder_of(collection, name))


# -- a dry run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_recipe_the_works_and_the_steps_and_trains_nothing(place, command, snapshot):
    done = command("finetune", "tiny.yaml", "--dry-run", "--label", "style", "--label", "genre", cwd=place)
    recipe, _, rest = done.out.partition("\n\n")
    assert list(yaml.safe_load(recipe)["tasks"]) == ["style", "genre"]
    assert recipe_of(yaml.safe_load(recipe), "-").phases[1] == Phase(2, "all", 1e-3)
    snapshot("finetune_dry_run.txt", rest.replace(str(place), "/pictures"))
    assert done.err.splitlines() == ["comparing works by color"]
    assert not (place / ".simsearch" / "finetune").exists()


def test_a_dry_run_needs_no_torch(place):
    code = "import sys; sys.modules['torch'] = sys.modules['timm'] = None; from simsearch.cli import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "finetune", "tiny.yaml", "--dry-run", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    plan = json.loads(shown.stdout)
    assert plan["recipe"]["backbone"] == "cnn:3"
    assert plan["steps"][1] == 2 * plan["steps"][0]
    assert plan["standing"] == "new"


def test_a_dry_run_says_how_far_a_run_is(place):
    finetune("tiny.yaml", "--steps", 1, *ON_CPU)
    again = ("tiny.yaml", "--steps", 1, "--dry-run", "--json")
    assert finetune(*again).record["standing"] == "finished"
    assert finetune(*again, "--restart").record["standing"] == "new"
    assert "another recipe (seed 0 then, 3 now)" in refused(*again, "--seed", 3)


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_run_ends_in_one_table_beside_the_majority_and_chance(place):
    done = finetune("tiny.yaml", "--split-by", "none", *ON_CPU)
    run = run_of(place)
    works, _, head, *rows, _, saved = done.out.splitlines()
    assert works == f"{run.held_out} works held out, {run.learned_from} works learned from"
    assert re.split(r"  +", head) == [
        "label (classes)", "recipe", "accuracy", "macro F1", "P@10", "P@10, other artists", "parameters", "images/s",
    ]  # fmt: skip
    cells = [re.split(r"  +", row.strip()) for row in rows]
    assert [row[-7 if i == 0 else 0] for i, row in enumerate(cells)] == ["tiny", "majority", "chance"]
    figures = [run.figures[f"style_{key}"] for key in ("accuracy", "f1", "p10", "p10_other")]
    assert cells[0][0] == "style (4)"
    assert [float(cell) for cell in cells[0][2:6]] == pytest.approx(figures, abs=5e-4)
    assert cells[0][6] == f"{run.parameters:,}"
    assert cells[2][1] == ".250"
    assert saved == f"saved       {run.folder}"
    assert {"phase 1", "phase 2", "comparing works by color"} <= set(done.err)


def test_the_figures_as_json(place):
    told = finetune("tiny.yaml", "--json", *ON_CPU).record
    run = run_of(place)
    assert told["recipes"] == [run.to_dict()]
    assert set(told["baselines"]) == set(told["classes"]) == {"style"}


def test_options_reach_the_recipe_and_the_run(place):
    finetune(
        "--backbone", "cnn:3", "--weights", "none", "--name", "mine", "--input-size", 16, "--neck", "conv-lstm",
        "--label", "genre", "--epochs", 1, "--batch-size", 8, "--seed", 5, "--set", "neck.width=8", "--set",
        "held_out=0.3", "--steps", 1, "--where", "style != 'Moss'", "--split-by", "none",
        "--collection", place, *ON_CPU,
    )  # fmt: skip
    folder = run_of(place, "mine").folder
    recipe = json.loads((folder / CARD).read_text(encoding="utf-8"))["recipe"]
    wanted = {"name": "mine", "backbone": "cnn:3", "weights": "none", "input_size": 16, "batch_size": 8, "seed": 5,
              "held_out": 0.3}  # fmt: skip
    assert {key: recipe[key] for key in wanted} == wanted
    assert (recipe["neck"]["kind"], recipe["neck"]["width"], list(recipe["tasks"])) == ("conv-lstm", 8, ["genre"])
    assert recipe["phases"][-1]["epochs"] == 1
    begun = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    assert (begun["works"]["count"], begun["max_steps"]) == (45, 1)


def test_without_works_held_out_there_are_no_figures(place):
    done = finetune("tiny.yaml", "--set", "held_out=0", "--steps", 1, *ON_CPU)
    assert done.out.startswith("0 works held out")
    assert re.search(r"\n +tiny +- +- +- +- +[\d,]+ +[\d.,]+\n", done.out)


def test_plots_are_pictures_that_show_something(place):
    done = finetune("tiny.yaml", "--plot", "plots/new", *ON_CPU)
    assert done.err[-1] == "plots of tiny in plots/new"
    drawn = sorted((place / "plots" / "new").iterdir())
    assert [path.name for path in drawn] == ["tiny-held-out.png", "tiny-losses.png"]
    for path in drawn:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            grey = np.asarray(image.convert("L"))
        assert (grey < 160).mean() > 0.003


def test_a_finished_run_is_refused_and_its_plots_are_drawn_all_the_same(place):
    finetune("tiny.yaml", "--steps", 1, *ON_CPU)
    done = finetune("tiny.yaml", "--steps", 1, "--plot", "plots", *ON_CPU, status=1)
    assert done.out == ""
    assert done.err[-2:] == [
        "plots of tiny in plots",
        "simsearch: run 'tiny' is finished; give another --name, or begin anew with --restart",
    ]
    assert (place / "plots" / "tiny-losses.png").exists()
    again = finetune("tiny.yaml", "--steps", 1, "--restart", *ON_CPU)
    assert f"what was in {run_of(place).folder} is replaced" in again.err


def test_a_place_for_plots_that_cannot_be_made_is_refused_before_anything_is_trained(place):
    (place / "file").write_text("")
    assert refused("tiny.yaml", "--plot", "file/plots", *ON_CPU) == (
        "simsearch: file/plots cannot be written: Not a directory"
    )
    assert not (place / ".simsearch" / "finetune").exists()


@pytest.mark.slow
def test_what_was_interrupted_goes_on_with_the_same_command(place):
    asked = ["finetune", "tiny.yaml", "--epochs", "4000", "--set", "patience=0", *ON_CPU]
    running = subprocess.Popen(
        [sys.executable, "-m", "simsearch", *asked, "--plot", "plots"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    for line in running.stderr:
        if line.startswith("phase 2"):
            running.send_signal(signal.SIGINT)
            break
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert out == ""
    assert err.splitlines()[-3:] == [
        "the same command goes on where it stopped",
        "plots of tiny in plots",
        "interrupted",
    ]
    assert (place / "plots" / "tiny-losses.png").exists()
    plan = finetune(*asked[1:-4], "--dry-run", "--json").record
    assert plan["standing"] == "unfinished"
    refusal = refused("tiny.yaml", *ON_CPU)
    assert "was begun with another recipe (phases.1.epochs 4000.0 then, 2.0 now); give another --name, or" in refusal


# -- several -----------------------------------------------------------------------------------------------------------


def test_recipes_are_compared_in_one_table_in_the_order_given(place):
    done = finetune("--compare", "several.yaml", "tiny.yaml", "--label", "style", "--label", "genre", *ON_CPU)
    rows = done.out.splitlines()[3:]
    names = [re.search(r"(pooled|recurrent|tiny|majority|chance)", row)[1] for row in rows]
    assert names == ["pooled", "recurrent", "tiny", "majority", "chance"] * 2
    assert [row.split("  ")[0] for row in rows if row[0] != " "] == ["style (4)", "genre (3)"]
    again = finetune(
        "--compare", "several.yaml", "tiny.yaml", "--label", "style", "--label", "genre", "--json", *ON_CPU
    )
    assert [run["name"] for run in again.record["recipes"]] == ["pooled", "recurrent", "tiny"]
    assert [line for line in again.err if line.endswith("taken as it is")] == [
        f"run '{name}' is finished, and taken as it is" for name in ("pooled", "recurrent", "tiny")
    ]


def test_plots_of_a_comparison_are_drawn_for_each(place):
    finetune("--compare", "several.yaml", "--steps", 1, "--plot", "plots", *ON_CPU)
    assert sorted(path.name for path in (place / "plots").iterdir()) == [
        "pooled-held-out.png", "pooled-losses.png", "recurrent-held-out.png", "recurrent-losses.png",
    ]  # fmt: skip


# -- how it refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a RECIPE (a YAML file, or one that comes with simsearch), or give --backbone"),
        (["tiny.yaml", "cnn_lstm"], "2 recipes are named; train one, or give --compare"),
        (["several.yaml"], "several.yaml holds 2 recipes; train them with --compare"),
        (["--compare"], "--compare needs recipes to compare; name two or more, or a YAML file of several"),
        (["--compare", "several.yaml", "--name", "x"], "--compare takes neither --name nor --resume nor --dry-run"),
        (["--compare", "several.yaml", "--resume"], "--compare takes neither --name nor --resume nor --dry-run"),
        (["tiny.yaml", "--resume", "--restart"], "--resume goes on with a run and --restart replaces it; give one"),
        (["tiny.yaml", "--dry-run", "--plot", "x"], "--dry-run trains nothing, so there is nothing to --plot"),
        (["tiny.yaml", "--batch-size", "1"], "Invalid value for '--batch-size'"),
        (["tiny.yaml", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["tiny.yaml", "--steps", "0"], "Invalid value for '--steps'"),
        (["tiny.yaml", "--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["tiny.yaml", "--neck", "max"], "'max' is not one of 'pool', 'conv-lstm'"),
        (["tiny.yaml", "--precision", "int8"], "'int8' is not one of 'auto', 'float32', 'bfloat16'"),
        (["tiny.yaml", "--where", "colour = 1"], "colour at character 1 is not a column"),
    ],
)
def test_wrong_usage_is_status_two(place, arguments, said):
    assert said in refused(*arguments, status=2)
    assert not (place / ".simsearch" / "finetune").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cnn_lsm"], "there is no recipe 'cnn_lsm'; did you mean 'cnn_lstm'?"),
        (["none.yaml"], "there is no recipe at none.yaml; write a YAML file, or name one of "),
        (
            ["tiny.yaml", "--weights", "w.safetensors"],
            "there is no file 'w.safetensors' to take weights from; give --w",
        ),
        (
            ["tiny.yaml", "--set", "phases.1.lrr=3"],
            "--set names phases.1.lrr, which no recipe knows; did you mean phase",
        ),
        (["tiny.yaml", "--set", "lr"], "--set 'lr' is no KEY=VALUE; write for example --set phases.0.lr=2e-4"),
        (
            ["tiny.yaml", "--label", "kind"],
            "no work of this collection has a label 'kind'; there are style, genre, art",
        ),
        (["tiny.yaml", "--label", "stile"], "no work of this collection has a label 'stile'; did you mean 'style'?"),
        (
            ["tiny.yaml", "--where", "style = 'x'"],
            "no work with a label 'style' fits --where \"style = 'x'\"; leave the",
        ),
        (
            ["tiny.yaml", "--split-by", "genre"],
            "no work has an attribute 'genre' that could be a split; leave --split-",
        ),
        (
            ["tiny.yaml", "--name", "a/b"],
            "a run cannot be called 'a/b'; give it a --name of letters, digits, dots, - an",
        ),
        (["tiny.yaml", "--resume"], "run 'tiny' has nothing to go on from; leave --resume away to begin it"),
        (["tiny.yaml", "--backbone", "resnet"], "there is no backbone 'resnet'; write timm:NAME or cnn:3"),
        (["tiny.yaml", "--backbone", "timm:resnet1"], "timm has no backbone 'resnet1'"),
        (
            ["tiny.yaml", "--set", "tasks.style.min_images=99"],
            "style has 0 classes with 99 or more works to learn from",
        ),
        (
            ["tiny.yaml", "--set", "distill=[{teacher: colr}]"],
            "the teacher 'colr' is no .npz file, and this collec",
        ),
        (["--compare", "tiny.yaml", "tiny.yaml"], "two recipes are called 'tiny'; give each a name of its own"),
        (
            ["--compare", "several.yaml", "--set", "held_out=0"],
            "recipe 'pooled' holds no work out, so nothing can be c",
        ),
        (["tiny.yaml", "--collection", "nowhere"], "there is no collection at "),
    ],
)
def test_what_the_library_refuses_is_one_sentence(place, arguments, said):
    sentence = refused(*arguments, *ON_CPU)
    assert sentence.startswith(f"simsearch: {said}")
    assert not list((place / ".simsearch").glob("finetune/*/state.safetensors"))


def test_a_machine_without_a_gpu_says_so(place):
    if torch.cuda.is_available():
        assert finetune("tiny.yaml", "--steps", 1, "--device", "cuda")
        return
    said = refused("tiny.yaml", "--device", "cuda")
    assert said == "simsearch: this machine has no CUDA device that torch can use; leave --device away, or give cpu"


@pytest.mark.parametrize("missing", ["torch", "timm"])
def test_without_what_trains_networks_it_says_how_to_get_it(place, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from simsearch.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "finetune", "tiny.yaml"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("simsearch: fine-tuning needs torch and timm; run `pip install 'simsearch[torch]'`\n")


# -- as text -----------------------------------------------------------------------------------------------------------


def test_a_table_of_several_kinds(snapshot):
    def run(name, parameters, speed, **figures):
        return {"name": name, "parameters": parameters, "images_per_s": speed, "figures": figures, "folder": "/x"}

    compared = {
        "learned_from": 13_104, "held_out": 1, "classes": {"style": 16, "genre": 10},
        "recipes": [
            run("frozen", 58_136_128, 8.25, style_accuracy=0.41, style_f1=0.4, style_p10=0.3, style_p10_other=0.2),
            run("both", 4_007_548, 152.0, style_accuracy=0.62, style_f1=0.6, style_p10=0.5, style_p10_other=0.4,
                genre_accuracy=0.7, genre_f1=0.65, genre_p10=0.5),
        ],
        "baselines": {
            "style": {"majority": {"accuracy": 0.07, "f1": 0.01},
                      "chance": {"accuracy": 0.0625, "f1": 0.06, "p10": 0.06, "p10_other": 0.05}},
            "genre": {"majority": {"accuracy": 0.3, "f1": 0.05}, "chance": {"accuracy": 0.1, "f1": 0.09}},
        },
    }  # fmt: skip
    out = io.StringIO()
    show_compared(compared, out)
    snapshot("finetune_compared.txt", out.getvalue())


def test_names_cannot_command_the_terminal():
    out = io.StringIO()
    run = {"name": "x\x1b[2J", "parameters": 1, "images_per_s": 1.0, "figures": {"s\x1b_accuracy": 1.0}, "folder": "/x"}
    show_compared({"learned_from": 1, "held_out": 1, "classes": {"s\x1b": 2}, "recipes": [run], "baselines": {}}, out)
    plan = {"tasks": {"s\x1b[1m": {"classes": 1, "learned_from": 1, "held_out": 1}}, "learned_from": 1, "held_out": 1,
            "aside": 1, "left_out": {}, "steps": [3], "folder": "/a\x1b", "standing": "new"}  # fmt: skip
    show_plan(plan, "name: x\x1b[2J\nseed: 1", out)
    assert "\x1b" not in out.getvalue()
