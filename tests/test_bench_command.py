"""`simsearch bench` on the command line: its table, its JSON, its refusals."""

import json
import re

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def art(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my art")
    for number in range(8):
        Image.new("RGB", (60 + number, 40), (6 * number, 90, 200)).save(folder / f"{number}.png")
    return folder


def test_it_prints_the_parts_what_bounds_them_and_a_command(command, art):
    done = command("bench", art, "--threads", 1, cwd=art)
    lines = done.out.splitlines()
    assert lines[0].startswith("color@1")
    assert lines[0].endswith("on the processor: 1 decoding thread, batches of 256; 8 images")
    assert [line.split()[0] for line in lines[1:7]] == ["part", "decode", "copy", "forward", "write", "together"]
    assert lines[3].split() == ["copy", "-", "-"]
    assert re.match(r"(decode|forward|write) bounds: [\d.]+ of [\d.]+ s; all parts share \d+ cores?, which", lines[7])
    assert lines[-2].startswith("proposed: ")
    assert lines[-1].startswith(f"simsearch index '{art}' --encoder color")
    assert "measuring: decode" in done.err


def test_as_json_it_is_one_line_with_the_same_figures(command, art):
    done = command("bench", art, "--images", 4, "--json", cwd=art)
    found = json.loads(done.out)
    assert (found["images"], found["device"], found["painted"]) == (4, "cpu", False)
    assert set(found["parts"]) == {"decode", "forward", "write"}
    assert found["together"]["images_per_s"] > 0


def test_painted_pictures_are_called_so(command, tmp_path):
    done = command("bench", "--images", 2, cwd=tmp_path)
    assert "; 2 painted images" in done.out
    assert "simsearch index FOLDER" in done.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["."], "there is no image in ."), (["nowhere"], "there is no folder nowhere"),
     (["--encoder", "colour"], "did you mean 'color'")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_a_sentence(command, tmp_path, arguments, said):
    done = command("bench", *arguments, cwd=tmp_path, status=1)
    assert done.out == ""
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("option", ["--images", "--batch", "--threads"])
def test_numbers_below_one_are_wrong_usage(command, tmp_path, option):
    done = command("bench", option, 0, cwd=tmp_path, status=2)
    assert option in done.err
