"""What a person writes after --encoder for networks of torch: read, printed, and refused with a sentence."""

from pathlib import Path

import pytest

from simsearch.encoders.locations import ClipLocation, TimmLocation, parse_location, with_settings
from simsearch.encoders.registry import load_encoder, reads_text
from simsearch.encoders.running import Running
from simsearch.errors import EncoderError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    return tmp_path


READ = {
    "clip:ViT-B-32/laion2b_s34b_b79k": ClipLocation("tag", "ViT-B-32", "laion2b_s34b_b79k"),
    "clip:ViT-B/32/openai": ClipLocation("tag", "ViT-B-32", "openai"),
    "clip:ViT-B-32": ClipLocation("tag", "ViT-B-32"),
    "clip:hf-hub:laion/CLIP-ViT-B-32": ClipLocation("hub", "laion/CLIP-ViT-B-32"),
    "clip:ViT-B-32?weights=/w/a b&c.pt": ClipLocation("checkpoint", "ViT-B-32", weights=Path("/w/a b&c.pt")),
    "clip:ViT-B-32/openai?weights=/w/o.bin": ClipLocation("tag", "ViT-B-32", "openai", Path("/w/o.bin")),
    "clip:/a/tiny.json?weights=/w/t.pt": ClipLocation("checkpoint", "/a/tiny.json", weights=Path("/w/t.pt")),
    "clip:/nowhere/what?": ClipLocation("folder", "/nowhere/what?"),
    "timm:vgg19": TimmLocation("vgg19"),
    "timm:vgg19?pool=gram&layer=features.28": TimmLocation("vgg19", None, "features.28", "gram"),
    "timm:vit_small_patch14_dinov2?size=224&weights=/w/m.safetensors": TimmLocation(
        "vit_small_patch14_dinov2", Path("/w/m.safetensors"), size=224
    ),
}


@pytest.mark.parametrize("text", READ)
def test_a_location_is_read_and_what_it_prints_is_read_alike(text):
    found = parse_location(text)
    assert found == READ[text]
    assert parse_location(str(found)) == found


def test_paths_in_a_location_become_absolute(here):
    assert str(parse_location("clip:models/tiny")) == f"clip:{here / 'models' / 'tiny'}"
    assert str(parse_location("clip:./gone")) == f"clip:{here / 'gone'}"
    assert str(parse_location("clip:tiny.json?weights=w.pt")) == f"clip:{here / 'tiny.json'}?weights={here / 'w.pt'}"
    assert str(parse_location("timm:vgg19?weights=~/w.pt")) == f"timm:vgg19?weights={Path.home() / 'w.pt'}"


def test_options_are_printed_in_one_order():
    assert str(parse_location("timm:vgg19?size=96&pool=max&layer=features.3")) == (
        "timm:vgg19?layer=features.3&pool=max&size=96"
    )


@pytest.mark.parametrize("text", ["color", "art", "models/tiny", "./clip", "clipping", "C:/models", "onnx:vgg19"])
def test_everything_else_is_no_location_of_torch(text):
    assert parse_location(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clip:", "'clip:' names no model; write clip:NAME/TAG, such as clip:ViT-B-32/laion2b_s34b_b79k"),
        ("timm:?size=3", "'timm:?size=3' names no model; write timm:NAME, such as timm:vit_small_patch14_dinov2"),
        ("clip:ViT-B-32?layer=1", "has an option 'layer' that clip: does not know; there are weights"),
        ("timm:vgg19?layr=1", "has an option 'layr' that timm: does not know; did you mean layer?"),
        ("timm:vgg19?size=1&size=2", "gives size twice; leave one away"),
        ("timm:vgg19?layer=", "gives no value for layer; write one behind the = or leave layer away"),
        ("timm:vgg19?pool=mean", "has pool 'mean'; there are avg, max, token, gram"),
        ("timm:vgg19?size=0", "has size '0'; give the side of the input in pixels, 1 to 4096"),
        ("timm:vgg19?size=2e2", "has size '2e2'; give the side of the input in pixels, 1 to 4096"),
        ("clip:hf-hub:laion", "is no model on the hub; write clip:hf-hub:ORG/NAME and no options"),
        ("clip:models/tiny?weights=w.pt", "names a folder, which has its weights in it; leave weights= away"),
    ],
)
def test_a_location_that_cannot_be_read_says_why(text, says):
    with pytest.raises(EncoderError) as refused:
        parse_location(text)
    assert str(refused.value).endswith(says)
    assert text in str(refused.value)


def test_options_may_be_given_apart(here):
    assert with_settings("color", {}) == "color"
    assert with_settings("timm:vgg19", {"layer": "features.3", "pool": "gram"}) == (
        "timm:vgg19?layer=features.3&pool=gram"
    )
    assert with_settings("timm:vgg19?size=96", {"weights": Path("w.pt")}) == (
        f"timm:vgg19?weights={here / 'w.pt'}&size=96"
    )
    with pytest.raises(EncoderError, match=r"^color takes no weights; that is for encoders of clip: and timm:$"):
        with_settings("color", {"weights": "w.pt"})
    with pytest.raises(EncoderError, match=r"^clip:ViT-B-32/openai takes no layer; that is for encoders of timm:$"):
        with_settings("clip:ViT-B-32/openai", {"layer": "x"})
    with pytest.raises(EncoderError, match=r"gives size twice"):
        with_settings("timm:vgg19?size=96", {"size": 32})


def test_who_reads_text_is_told_by_the_location(here):
    (here / "models" / "both").mkdir()
    (here / "models" / "both" / "text.onnx").touch()
    assert reads_text("clip:ViT-B-32/openai")
    assert reads_text("models/both")
    assert not any(map(reads_text, ("color", "art", "models/tiny", "timm:vgg19")))


def test_how_a_network_is_run_is_checked_before_it_is_loaded():
    assert Running() == Running("auto", "auto", None)
    with pytest.raises(EncoderError, match=r"^there is no precision 'int8'; give one of auto, fp32, bf16, fp16$"):
        Running(precision="int8")
    with pytest.raises(EncoderError, match=r"^a batch size of 0 holds no image; give a whole number above 0$"):
        Running(batch_size=0)


@pytest.mark.parametrize(("location", "lacks"), [("clip:ViT-B-32/openai", "open_clip"), ("timm:vgg19", "timm")])
def test_a_missing_package_is_named_with_what_installs_it(location, lacks, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == lacks]:
        monkeypatch.delitem(sys.modules, name)
    for ours in ("openclip", "openclip_source", "timm"):
        monkeypatch.delitem(sys.modules, f"simsearch.encoders.{ours}", raising=False)
    monkeypatch.setitem(sys.modules, lacks, None)
    with pytest.raises(EncoderError) as refused:
        load_encoder(location)
    assert str(refused.value).startswith(f"{location} needs torch, timm and open_clip (import of {lacks} halted")
    assert str(refused.value).endswith("); run `pip install 'simsearch[torch]'`")
