"""``simsearch export-encoder clip:...`` and ``timm:...``: a folder that says what the network says, or none."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import onnx
import onnxruntime
import pytest
from labelled_works import indexed, painted
from tiny_clip import CONTEXT, DIM, SIDE, tiny_clip_checkpoint, tiny_clip_folder, tiny_timm_checkpoint
from torch_operators import torch

from simsearch import Options, index_folders, open_collection
from simsearch.cli import main
from simsearch.encoders.color import ColorEncoder
from simsearch.encoders.export.folder import Wishes
from simsearch.encoders.export.prompts import PROMPTS
from simsearch.encoders.export.torch_encoder import export_towers
from simsearch.encoders.onnx import OnnxEncoder, OnnxTextEncoder, open_folder
from simsearch.encoders.registry import load_encoder
from simsearch.encoders.running import Running
from simsearch.encoders.torch_run import Runner, TorchEncoder
from simsearch.errors import TrainingError
from simsearch.exporting import export_torch_encoder
from simsearch.records import EncoderInfo, Preprocessing


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with networks of torch, and a collection of twelve painted pictures."""
    folder = tmp_path_factory.mktemp("place")
    painted(folder, 12)
    tiny_clip_folder(folder / "clip", seed=3)
    tiny_clip_checkpoint(folder / "saved", seed=3)
    tiny_timm_checkpoint(folder / "vit.safetensors")
    return indexed(folder)


@pytest.fixture(scope="module")
def clip(place):
    return f"clip:{place / 'clip'}"


@pytest.fixture(scope="module")
def vit(place):
    return f"timm:test_vit?weights={place / 'vit.safetensors'}"


@pytest.fixture(scope="module")
def exported(place, clip, tmp_path_factory):
    """The tiny CLIP as the command exports it, and what it says with --json."""
    to = tmp_path_factory.mktemp("models") / "tiny"
    out = io.TextIOWrapper(io.BytesIO())
    arguments = ["export-encoder", clip, str(to), "--check", "12", "--licence", "MIT", "--collection", str(place)]
    with pytest.raises(SystemExit) as left, redirect_stdout(out), redirect_stderr(io.StringIO()) as err:
        main([*arguments, "--json"])
    assert not left.value.code, err.getvalue()
    out.seek(0)
    return to, json.loads(out.read())


def pixels(encoder, count=5):
    side = encoder.info.preprocessing.size
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def agree(first, second):
    return float((first * second).sum(1).min())


# -- a CLIP ------------------------------------------------------------------------------------------------------------


def test_both_towers_give_what_torch_gives(exported, clip):
    ours, theirs = open_folder(exported[0]), load_encoder(clip)
    assert type(ours) is OnnxTextEncoder
    assert agree(ours.embed_images(pixels(ours)), theirs.embed_images(pixels(ours))) > 0.999999
    texts = PROMPTS[:40]
    found, wanted = ours.embed_texts(texts), theirs.embed_texts(texts)
    assert abs(found - wanted).max() < 1e-5
    assert (found @ found.T).min() < 0.99, "and texts differ"


def test_the_card_says_what_it_is_and_how_it_agrees(exported, clip):
    folder, said = exported
    card = json.loads((folder / "card.json").read_text())
    assert card == said["card"]
    assert (card["name"], card["revision"]) == ("tiny", OnnxEncoder(folder).info.digest[:12])
    assert (card["dim"], card["input_size"], card["resize"]) == (DIM, SIDE, "crop")
    assert (card["context_length"], card["pad_id"], card["text_cleaning"]) == (CONTEXT, 0, "lower")
    assert card["logit_scale"] == pytest.approx(1 / 0.07, abs=1e-3)
    assert (card["licence"], card["storage"]) == ("MIT", "float32")
    close = pytest.approx(1, abs=1e-5)
    assert card["agreement"] == {
        "count": 12, "images": "of the collection", "least_cosine": close, "mean_cosine": close, "needed": 0.999,
    }  # fmt: skip
    assert card["text_agreement"] == {
        "count": len(PROMPTS), "texts": "prompts.PROMPTS", "least_cosine": close, "mean_cosine": close, "needed": 0.999,
    }  # fmt: skip
    info = load_encoder(clip).info
    assert card["exported_from"] == {"encoder": "clip:clip", "name": info.name, "digest": info.digest}
    network = load_encoder(clip).network
    of_image = sum(weights.numel() for weights in network.visual.parameters())
    assert card["parameters"] == of_image
    assert card["text_parameters"] == sum(weights.numel() for weights in network.parameters()) - of_image - 1


def test_the_folder_holds_four_files_and_no_place_of_this_machine(exported, place):
    folder, said = exported
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "image.onnx", "text.onnx", "tokenizer.json"]
    assert said["bytes"] == (folder / "image.onnx").stat().st_size
    assert said["text_bytes"] == (folder / "text.onnx").stat().st_size
    for path in folder.iterdir():
        assert str(place).encode() not in path.read_bytes()
        assert path.suffix != ".onnx" or b".py" not in path.read_bytes()


@pytest.fixture(scope="module", params=["float16", "int8"])
def smaller(request, place, tmp_path_factory):
    """The same network from its checkpoint, as a folder of smaller files."""
    saved = f"clip:{place / 'saved' / 'tiny.json'}?weights={place / 'saved' / 'tiny.pt'}"
    to = tmp_path_factory.mktemp("models") / request.param
    return export_torch_encoder(saved, to, Wishes(storage=request.param, check=6))


def test_smaller_files_agree_as_their_storage_allows(exported, smaller):
    least = {"float16": 0.9999, "int8": 0.995}[smaller.card["storage"]]
    assert smaller.card["exported_from"]["encoder"] == "clip:tiny.json?weights=tiny.pt"
    for key in ("agreement", "text_agreement"):
        assert 1 >= smaller.card[key]["least_cosine"] >= least
    assert smaller.text_bytes < 0.55 * (exported[0] / "text.onnx").stat().st_size
    ours, whole = open_folder(smaller.folder), open_folder(exported[0])
    texts = PROMPTS[:-1]  # the last one is cut, which would be said
    assert agree(ours.embed_texts(texts), whole.embed_texts(texts)) > least
    assert agree(ours.embed_images(pixels(ours)), whole.embed_images(pixels(ours))) > least


def test_the_table_of_tokens_stays_small_in_memory(smaller, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(smaller.folder / "text.onnx", options, providers=["CPUExecutionProvider"])
    held = onnx.load(tmp_path / "run.onnx").graph.initializer
    assert [t.data_type for t in held if list(t.dims) == [49408, 32]] == [onnx.TensorProto.FLOAT16]


# -- a backbone of timm ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "&layer=blocks.1", "&layer=blocks.1&pool=gram"])
def test_a_backbone_and_a_layer_in_it_are_exported(vit, place, tmp_path, inside):
    location = vit + inside
    done = export_torch_encoder(location, tmp_path / "vit", Wishes(check=3, images=place / "art"))
    ours, theirs = open_folder(done.folder), load_encoder(location)
    assert type(ours) is OnnxEncoder
    assert sorted(path.name for path in done.folder.iterdir()) == ["card.json", "image.onnx"]
    assert (ours.info.dim, ours.info.preprocessing) == (theirs.info.dim, theirs.info.preprocessing)
    assert agree(ours.embed_images(pixels(ours)), theirs.embed_images(pixels(ours))) > 0.99999
    assert done.card["agreement"]["images"] == "of a folder"
    assert done.card["exported_from"]["encoder"] == f"timm:test_vit?weights=vit.safetensors{inside}"
    assert "text_agreement" not in done.card
    assert done.text_bytes is None


# -- refusals ----------------------------------------------------------------------------------------------------------


class Fickle(torch.nn.Module):
    """A network that is written down otherwise than it runs."""

    def forward(self, x):
        rows = x.mean((2, 3))
        return rows.flip(1) if torch.compiler.is_exporting() else rows


def test_a_folder_that_disagrees_with_the_network_is_not_written(tmp_path):
    rule = Preprocessing(8, mean=(0.5, 0.5, 0.5))
    encoder = TorchEncoder(Fickle(), EncoderInfo("fickle", "1", "00", 3, rule), "fickle", Runner(Running("cpu")))
    with pytest.raises(
        TrainingError,
        match=r"other embeddings than the network: cosine -?0\.\d+ in one of 9 images, 0\.999 is needed; go on using",
    ):
        export_towers(encoder, tmp_path / "out" / "model", Wishes(check=9))
    assert list((tmp_path / "out").iterdir()) == []


class Unwritable(torch.nn.Module):
    """A network whose way depends on the picture."""

    def forward(self, x):
        return x.mean((2, 3)) if float(x.detach().sum()) > 0 else x.amax((2, 3))


def test_a_network_that_torch_cannot_write_down_is_said(tmp_path):
    info = EncoderInfo("unwritable", "1", "00", 3, Preprocessing(8))
    encoder = TorchEncoder(Unwritable(), info, "unwritable", Runner(Running("cpu")))
    with pytest.raises(TrainingError, match="torch cannot write unwritable as ONNX"):
        export_towers(encoder, tmp_path / "model", Wishes(check=2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wishes", "to", "said"),
    [
        (Wishes(size=64), "new", r"--size can be had for runs of finetune only; clip-\S+ is exported as it is"),
        (Wishes(resize="pad", quantise="collection"), "new", "--resize and --quantise can be had for runs of"),
        (Wishes(), "there", "there is there already; name another folder"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(clip, tmp_path, wishes, to, said):
    (tmp_path / "there").mkdir()
    with pytest.raises(TrainingError, match=said):
        export_torch_encoder(clip, tmp_path / to, wishes)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_encoder_that_needs_no_torch_is_not_exported(tmp_path):
    with pytest.raises(TrainingError, match="color does not run in torch, so there is nothing to export; name a run"):
        export_towers(ColorEncoder(), tmp_path / "new")


def test_a_folder_without_images_to_compare_by_is_named(vit, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(TrainingError, match="none holds no image to compare by; name a folder of images"):
        export_torch_encoder(vit, tmp_path / "new", Wishes(images=tmp_path / "none"))


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["clip:no-such/folder/at-all", "new"], 1, "no-such"),
        (["timm:tset_vit", "new"], 1, "timm has no backbone 'tset_vit'"),
        (["clip", "."], 1, "clip holds no finished run"),
    ],
)
def test_wrong_use_is_a_sentence(place, arguments, status, said, monkeypatch, capsys):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(["export-encoder", *arguments])
    assert left.value.code == status
    assert said in capsys.readouterr().err


def test_the_command_tells_what_was_written_and_the_folder_can_be_indexed_with(exported, place, tmp_path, capsys):
    to = tmp_path / "by hand"
    with pytest.raises(SystemExit) as left:
        main(["export-encoder", f"clip:{place / 'clip'}", str(to), "--storage", "int8", "--check", "3",
              "--images", str(place / "art")])  # fmt: skip
    assert not left.value.code
    said = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in said] == [
        "encoder",
        "sees",
        "weights",
        "agreement",
        "reads",
        "agreement",
        "saved",
        "now",
    ]
    assert said[3][1].endswith("on 3 images of a folder")
    assert said[4][1].startswith(f"texts of {CONTEXT} tokens; ")
    assert said[5][1].endswith(f"on {len(PROMPTS)} texts")
    painted(tmp_path, 4)
    with open_collection(tmp_path, write=True) as collection:
        report = index_folders(collection, [tmp_path / "art"], Options(encoder=str(to)))
    assert (report.added, report.failures) == (4, 0)
