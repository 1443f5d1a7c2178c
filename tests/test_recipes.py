"""Recipes: what they refuse, what options change in them, and that each that comes with simsearch runs."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from labelled_works import indexed, painted, write_table
from torch_operators import timm

from simsearch import open_collection
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.choose import (
    FOLDER,
    Changes,
    as_yaml,
    bare_recipe,
    changed,
    committed,
    find_recipes,
)
from simsearch.classifier.finetune.recipe import (
    Cache,
    Contrast,
    Distill,
    Neck,
    Part,
    Phase,
    Recipe,
    Task,
    as_data,
    read_recipe,
    recipe_of,
    share_of,
)
from simsearch.classifier.finetune.runs import Means, finetune, read_log, works_for
from simsearch.errors import TrainingError

LEAST = {"backbone": "cnn:3"}
FULL = Recipe(
    "full", "timm:vit_small_patch14_dinov2", "weights.safetensors", 154, "squash",
    {"style": Task(2.0, "mean", "softmax", 8.0, 0.0, "weights", 5), "artist": Task(part="which")},
    (Part("mean", 128, 1.0), Part("which", 64, 0.4)), Neck("conv-lstm", 64, 0.2), (Contrast(0.5, "which", "", 0.2),),
    (Distill("clip", "mean", (0, 512), 1.0, 2.0, 0.05),), Augment(crop=0.9), 2, Cache(8, 3),
    (Phase(1.0, "head", 0.0, 1e-3), Phase(4.5, "30%", 1e-4, 1e-3, 0.8, 0.1, 0.05, 1e-6, 0.3, 0.5)),
    96, 0.1, 0.99, 2.0, 0.2, 3, 7,
)  # fmt: skip


def refused(data, origin="a.yaml"):
    with pytest.raises(TrainingError) as caught:
        recipe_of({"name": "a"} | LEAST | data, origin)
    return str(caught.value)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def refused_file(path, text):
    with pytest.raises(TrainingError) as caught:
        find_recipes(str(written(path, text)))
    return str(caught.value)


# -- what a recipe refuses ---------------------------------------------------------------------------------------------


def test_unknown_keys_are_named_with_the_nearest():
    assert refused({"batchsize": 3}) == "a.yaml has a key 'batchsize' that no recipe knows; did you mean 'batch_size'?"
    assert refused({"phases": [{}, {"Lr": 1}]}).startswith("a.yaml: phases[1] has a key 'Lr' that no recipe knows; ")
    assert "a.yaml: augment has a key 'flips' that no recipe knows; did you mean 'flip'?" in refused(
        {"augment": {"flips": 1}}
    )


def test_values_of_another_type_are_named():
    assert refused({"batch_size": "many"}) == "a.yaml: batch_size is 'many'; a whole number is needed"
    assert refused({"batch_size": 1.5}) == "a.yaml: batch_size is 1.5; a whole number is needed"
    assert refused({"seed": True}) == "a.yaml: seed is True; a whole number is needed"
    assert refused({"phases": [{"lr": "fast"}]}) == "a.yaml: phases[0]: lr is 'fast'; a number is needed"
    assert refused({"phases": 3}) == "a.yaml: phases must be a list, not 3"
    assert refused({"tasks": ["style"]}) == "a.yaml: tasks must map names to values, not ['style']"
    assert refused({"tasks": {"style": 1}}) == "a.yaml: tasks.style must hold keys, not 1"
    assert refused({"resize": "stretch"}) == "a.yaml: resize is 'stretch'; there are squash, crop, pad"


def test_pieces_that_do_not_fit_together_are_named():
    assert refused({"phases": []}) == "recipe 'a' has no phases; give at least one"
    assert refused({"tasks": {}}) == "recipe 'a' has nothing to learn; give tasks, contrast or distill"
    assert refused({"tasks": {"style": {"part": "x"}}}) == "recipe 'a': task style names part 'x'; there are semantic"
    assert refused({"contrast": [{"part": "x"}], "views": 2}) == (
        "recipe 'a': contrast names part 'x'; there are semantic"
    )
    assert refused({"contrast": [{}]}) == "recipe 'a': contrast of views needs views: 2 or more"
    assert refused({"parts": [{}, {}]}).startswith("recipe 'a' needs parts with names of their own")
    assert refused({"parts": []}).startswith("recipe 'a' needs parts with names of their own")
    assert refused({"phases": [{"train": "most"}]}) == (
        "recipe 'a': train is 'most'; write head, all, or a share such as 30%"
    )
    assert refused({"phases": [{"train": "130%"}]}).startswith("recipe 'a': train is '130%'; ")
    with pytest.raises(TrainingError, match=r"^a\.yaml lacks backbone$"):
        recipe_of({"name": "a"}, "a.yaml")


def test_shares_of_a_backbone():
    assert [share_of(text) for text in ("head", "all", "30%", "0.25", "0", "1")] == [0, 1, 0.3, 0.25, 0, 1]


def test_files_that_hold_no_recipe_are_refused(tmp_path):
    path = tmp_path / "a.yaml"
    assert refused_file(path, "just text") == (
        f"{path} is no recipe; it must hold keys such as backbone, tasks and phases"
    )
    assert refused_file(path, "") == f"{path} is no recipe; it must hold keys such as backbone, tasks and phases"
    assert refused_file(path, "a: [1\nb: 2").startswith(f"{path} is no YAML file: ")
    assert "\n" not in refused_file(path, "a: [1\nb: 2")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="is no YAML file"):
        find_recipes(str(path))
    assert refused_file(path, "backbone: cnn:3\nepochs: 3").startswith(f"{path} has a key 'epochs' that no recipe ")


# -- round trip --------------------------------------------------------------------------------------------------------


def test_a_recipe_survives_json_and_yaml(tmp_path):
    assert {f.name for f in dataclasses.fields(Recipe) if getattr(FULL, f.name) == f.default} == {"resize"}
    assert recipe_of(json.loads(json.dumps(as_data(FULL))), "x") == FULL
    path = written(tmp_path / "other.yaml", as_yaml(FULL))
    assert find_recipes(str(path)) == [FULL]
    assert read_recipe(path) == FULL


def test_a_recipe_without_a_name_has_its_files(tmp_path):
    assert find_recipes(str(written(tmp_path / "mine.yml", "backbone: cnn:3")))[0].name == "mine"
    assert find_recipes(str(written(tmp_path / "b.yaml", "{name: x, backbone: 'cnn:3'}")))[0].name == "x"


def test_numbers_without_a_point_are_read(tmp_path):
    (recipe,) = find_recipes(str(written(tmp_path / "a.yaml", "backbone: cnn:3\nphases: [{lr: 2e-4, epochs: 3}]")))
    assert (recipe.phases[0].lr, recipe.phases[0].epochs) == (2e-4, 3.0)


# -- finding -----------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(TrainingError, match=r"^there is no recipe 'xception_frozn'; did you mean 'xception_frozen'\?$"):
        find_recipes("xception_frozn")
    with pytest.raises(TrainingError, match=r"^there is no recipe 'zzz'; there are .*cnn3_kinds.*, and files that end"):
        find_recipes("zzz")
    with pytest.raises(TrainingError, match=r"there is no recipe at none\.yaml; write a YAML file, or name one of "):
        find_recipes("none.yaml")


def test_recipes_of_one_file_extend_its_base(tmp_path):
    text = """
    base: {backbone: "cnn:3", neck: {width: 64, dropout: 0.1}, batch_size: 8, phases: [{epochs: 1}, {epochs: 2}]}
    recipes:
      - {name: plain}
      - {name: dropped, neck: {dropout: 0.5}, phases: [{epochs: 9}]}
    """
    plain, dropped = find_recipes(str(written(tmp_path / "two.yaml", text)))
    assert (plain.name, plain.neck, len(plain.phases)) == ("plain", Neck(width=64, dropout=0.1), 2)
    assert (dropped.name, dropped.neck, dropped.batch_size) == ("dropped", Neck(width=64, dropout=0.5), 8)
    assert dropped.phases == (Phase(epochs=9),)


def test_a_base_may_be_a_recipe_that_comes_with_simsearch(tmp_path):
    text = "base: cnn_lstm\nrecipes: [{name: a}, {name: b, neck: {kind: pool}}]"
    a, b = find_recipes(str(written(tmp_path / "two.yaml", text)))
    (own,) = find_recipes("cnn_lstm")
    assert a == dataclasses.replace(own, name="a")
    assert b == dataclasses.replace(own, name="b", neck=dataclasses.replace(own.neck, kind="pool"))


def test_files_of_several_recipes_that_make_no_sense_are_refused(tmp_path):
    path = tmp_path / "several.yaml"
    assert refused_file(path, "recipes: []").endswith(
        "recipes must be a list of one recipe or more, each with keys such as name"
    )
    assert "recipes must be a list of one" in refused_file(path, "recipes: [cnn_lstm]")
    assert refused_file(path, "recipes: [{backbone: 'cnn:3'}]") == f"{path}: recipes[0] lacks a name"
    assert refused_file(path, "recipes: [{name: a}]\nbatch_size: 3").startswith(
        f"{path} holds recipes and beside them 'batch_size'; move it below base"
    )
    assert refused_file(path, "base: cnn_lsm\nrecipes: [{name: a}]").startswith(f"{path}: base names 'cnn_lsm'; there")
    assert refused_file(path, "base: [1]\nrecipes: [{name: a}]") == (
        f"{path}: base must hold keys, or name a recipe, not [1]"
    )
    assert refused_file(path, "base: {backbone: 'cnn:3'}\nrecipes: [{name: a, sed: 1}]").startswith(
        f"{path}: recipe 'a' has a key 'sed' that no recipe knows; did you mean 'seed'?"
    )


# -- changes -----------------------------------------------------------------------------------------------------------


NO_ENTRY = "an entry that is not there; there are 0, 1: --set 'phases=[...]' sets all"


def setting(*settings):
    return changed(FULL, Changes(weights="none", settings=settings))


def test_options_change_what_they_name_and_nothing_else(tmp_path):
    weights = written(tmp_path / "w.safetensors", "")
    made = changed(
        FULL,
        Changes(
            "n", "cnn:3", str(weights), 28, "pool", ("genre", "artist"), 2.5, 4, 9, ("ema=0.5", "phases.0.lr=1e-3")
        ),
    )
    assert made == dataclasses.replace(
        FULL, name="n", backbone="cnn:3", weights=str(weights), input_size=28,
        neck=dataclasses.replace(FULL.neck, kind="pool"),
        tasks={"genre": FULL.tasks["style"], "artist": Task(part="which")},
        phases=(dataclasses.replace(FULL.phases[0], lr=1e-3), dataclasses.replace(FULL.phases[1], epochs=2.5)),
        batch_size=4, seed=9, ema=0.5,
    )  # fmt: skip
    assert changed(made, Changes()) == made


def test_settings_reach_every_depth():
    assert setting("phases.1.lr=2e-4").phases[1].lr == 2e-4
    assert setting("tasks.style.balance=none").tasks["style"].balance == "none"
    assert setting("augment.flip=0").augment.flip == 0
    assert setting("tasks.kind.part=mean").tasks["kind"] == Task(part="mean")
    assert setting("contrast=[{part: mean, label: style}]").contrast == (Contrast(part="mean", label="style"),)
    assert setting("contrast=[]", "distill=[]", "views=1").distill == ()
    assert setting("distill.0.teacher=a.npz", "distill.0.columns=[0, 3]").distill[0].columns == (0, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phases.1.lrr=1", "--set names phases.1.lrr, which no recipe knows; did you mean phases.1.lr?"),
        ("phasis=1", "--set names phasis, which no recipe knows; did you mean phases?"),
        ("phases.2.lr=1", f"--set names phases.2, {NO_ENTRY}"),
        ("phases.x=1", f"--set names phases.x, {NO_ENTRY}"),
        ("seed.x=1", "--set names seed.x, but seed has no keys of its own; write --set seed=VALUE"),
        ("seed", "--set 'seed' is no KEY=VALUE; write for example --set phases.0.lr=2e-4"),
        ("=1", "--set '=1' is no KEY=VALUE; write for example --set phases.0.lr=2e-4"),
        ("a..b=1", "--set 'a..b=1' is no KEY=VALUE; write for example --set phases.0.lr=2e-4"),
        ("seed=[1", "--set seed has the value '[1', which is no YAML; put it in quotes"),
        ("seed=few", "recipe 'full' as it was changed: seed is 'few'; a whole number is needed"),
        ("phases.1.lr=", "recipe 'full' as it was changed: phases[1]: lr is None; a number is needed"),
        ("neck.kind=max", "recipe 'full' as it was changed: neck: kind is 'max'; there are pool, conv-lstm"),
        ("tasks.style.part=x", "recipe 'full': task style names part 'x'; there are mean, which"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_name_the_key(text, said):
    with pytest.raises(TrainingError) as caught:
        setting(text)
    assert str(caught.value) == said


def test_weights_that_are_not_there_are_refused_before_anything_is_done():
    with pytest.raises(TrainingError, match=r"there is no file 'weights\.safetensors' to take weights from; give --w"):
        changed(FULL, Changes())


def test_a_backbone_alone_makes_a_recipe():
    assert bare_recipe("timm:vit_small_patch14_dinov2.lvd142m") == Recipe(
        "vit_small_patch14_dinov2.lvd142m", "timm:vit_small_patch14_dinov2.lvd142m", "hub"
    )
    assert bare_recipe("cnn:3") == Recipe("cnn-3", "cnn:3", "none")


# -- those that come with simsearch ------------------------------------------------------------------------------------

STUDIES = {
    "resnet152v2_frozen", "xception_frozen", "inceptionv3_frozen", "efficientnetv2_s_convlstm", "cnn3_kinds",
    "mobilenetv2_kinds", "efficientnet_b0_l2", "cnn_lstm",
}  # fmt: skip
SIZES = {"inceptionv3_frozen": 75}
"""The least side in pixels that a network takes, where 64 are too few."""
SLIM = {"resnet152v2_frozen": "timm:resnetv2_152"}
"""The same network in half the width, whose files a test can write."""


def test_the_studies_are_there():
    assert set(committed()) >= STUDIES


@pytest.mark.parametrize("name", committed())
def test_a_committed_recipe_says_what_it_is_for_and_reads_as_its_file(name):
    path = FOLDER / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert max(map(len, text.splitlines())) <= 120
    (recipe,) = find_recipes(name)
    assert recipe == read_recipe(path)
    assert recipe.name == name
    assert set(yaml.safe_load(text)) <= {f.name for f in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_pretrained_weights_of_a_study_exist(name):
    (recipe,) = find_recipes(name)
    family, _, network = recipe.backbone.partition(":")
    assert recipe.weights == ("hub" if family == "timm" else "none")
    if family == "timm":
        assert timm.is_model_pretrained(network)
        assert timm.get_pretrained_cfg(network).hf_hub_id


def test_frozen_studies_learn_nothing_but_a_linear_layer_on_the_features():
    for name in STUDIES:
        (recipe,) = find_recipes(name)
        frozen = [phase.train for phase in recipe.phases] == ["head"]
        assert frozen == name.endswith("_frozen")
        if frozen:
            assert [part.dim for part in recipe.parts] == [0]
            assert (recipe.neck.kind, recipe.tasks["style"].loss) == ("pool", "softmax")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A folder with a collection of 16 painted works that have kinds too."""
    folder = tmp_path_factory.mktemp("gallery")
    rows = painted(folder, works=16)
    kinds = ("drawing", "painting")
    write_table(folder / "art" / "artworks.csv", [row | {"kind": kinds[i % 2]} for i, row in enumerate(rows)])
    return indexed(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_study_trains_for_two_steps(gallery, name):
    (recipe,) = find_recipes(name)
    size = SIZES.get(name, 64)
    settings = (
        "patience=0",
        "held_out=0.3",
        *([] if len(recipe.phases) < 3 else ["phases=[{train: head}, {train: all}]"]),
    )
    tiny = changed(recipe, Changes(
        weights="none", input_size=size, batch_size=2, epochs=0.2, backbone=SLIM.get(name), settings=settings,
    ))  # fmt: skip
    with open_collection(gallery) as collection:
        works = works_for(collection, [tiny], split="none")
        done = finetune(collection, tiny, works, means=Means(device="cpu", precision="float32", max_steps=2))
    try:
        kind = next(iter(recipe.tasks))
        assert 0 <= done.figures[f"{kind}_accuracy"] <= 1
        assert done.parameters > 90_000
        assert len(read_log(done.folder)) >= len(tiny.phases)
    finally:
        shutil.rmtree(done.folder)


def test_recipes_are_part_of_the_wheel():
    builder = WheelBuilder(str(Path(__file__).parent.parent))
    shipped = {file.distribution_path for file in builder.recurse_included_files()}
    assert {f"simsearch/classifier/finetune/recipes/{name}.yaml" for name in committed()} <= shipped


def test_recipes_in_the_documentation_can_be_read(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "finetune.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert find_recipes(str(written(tmp_path / "shown.yaml", block)))
    own = Recipe("own", "cnn:3")
    for snippet in re.findall(r"`((?:contrast|distill|views|parts|cache): [^`]+)`", page):
        ((key, value),) = yaml.safe_load(snippet).items()
        assert key in as_data(own)
        extra = {"views": 2, "parts": [{"name": "semantic"}, {"name": "which"}]}
        recipe_of({"name": "own", "backbone": "cnn:3"} | extra | {key: value}, snippet)
    ends = ("_frozen", "_kinds", "_l2", "_lstm", "_convlstm")
    assert {name for name in re.findall(r"`(\w+)`", page) if name.endswith(ends)} == STUDIES
