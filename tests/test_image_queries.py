"""From what a person names to bytes, from bytes to the square of an encoder: queries, regions, fitting, thumbnails."""

import io
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from simsearch import images
from simsearch.errors import ImageError, QueryError
from simsearch.images import Picture, Region
from simsearch.records import Preprocessing

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(width, height):
    """Red holds the pixel's x, green its y."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Picture(Image.fromarray(np.stack([x, y, x * 0], 2).astype(np.uint8)), width, height)


def thirds(width, height):
    """Red, green and blue from left to right."""
    at = np.arange(width) * 3 // width
    return Image.fromarray(np.broadcast_to(np.array([RED, GREEN, BLUE], np.uint8)[at], (height, width, 3)).copy())


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# -- where a query comes from ------------------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    """A server of three addresses."""

    bodies = {"/it.png": b"\x89PNG and so on", "/empty.png": b"", "/large.png": bytes(1_100_000)}  # noqa: RUF012

    def do_GET(self):
        body = self.bodies.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def refused(where):
    with pytest.raises(ImageError) as caught:
        images.read_query(where)
    assert caught.value.reason in images.REASONS
    return caught.value.reason, str(caught.value)


def test_a_path_gives_its_bytes_and_its_own_name(tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(b"bytes")
    assert images.read_query(str(path)) == (b"bytes", str(path))


def test_a_path_that_gives_no_bytes_says_why(tmp_path):
    (tmp_path / "empty.png").touch()
    missing, empty = tmp_path / "no.png", tmp_path / "empty.png"
    assert refused(str(missing)) == ("unreadable", f"{missing} cannot be read: No such file or directory")
    assert refused(str(tmp_path)) == ("unreadable", f"{tmp_path} cannot be read: Is a directory")
    assert refused(str(empty)) == ("empty", f"{empty} is empty (0 bytes)")


def test_an_address_gives_the_bytes_behind_it(server):
    assert images.read_query(f"{server}/it.png") == (b"\x89PNG and so on", f"{server}/it.png")


def test_an_address_that_gives_no_image_says_why(server, monkeypatch):
    assert refused(f"{server}/empty.png") == ("empty", f"{server}/empty.png gave 0 bytes")
    reason, message = refused(f"{server}/gone.png")
    assert reason == "unreadable"
    assert message.startswith(f"{server}/gone.png cannot be fetched: 404")
    monkeypatch.setattr(images, "URL_MAX_BYTES", 1_000_000)
    assert refused(f"{server}/large.png") == (
        "unreadable",
        f"{server}/large.png is larger than 1 MB; download it first",
    )


def test_an_address_where_nobody_listens_is_unreadable(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as taken:  # bound but not listening: whoever comes is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/it.png"
        reason, message = refused(url)
    assert reason == "unreadable"
    assert message.startswith(f"{url} cannot be fetched: ")


@pytest.mark.parametrize("url", ["http://", "https://[half", "http://no such host/"])
def test_an_address_that_is_none_is_unreadable(url):
    assert refused(url)[0] == "unreadable"


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert images.read_query("-") == (b"piped", "standard input")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert refused("-") == ("empty", "standard input is empty; pipe an image into it")


# -- regions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("100,50,300,200", Region(100, 50, 300, 200)),
        (" 0 , 0 , 1.5 , 2 ", Region(0, 0, 1.5, 2)),
        ("10%,5%,30%,20%", Region(10, 5, 30, 20, percent=True)),
        ("0%, 0%, 100%, 12.5%", Region(0, 0, 100, 12.5, percent=True)),
    ],
)
def test_a_region_is_four_numbers_in_pixels_or_in_per_cent(text, region):
    assert Region.parse(text) == region


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", "10%,5,30,20", "1%,2%,3%%,4", "0,0,0,5", "0,0,5,-1", "-1,0,5,5",
     "nan,0,1,1", "0,0,inf,1", "0,0,1,nan", "1e300%,0%,1%,1%"],
)  # fmt: skip
def test_a_malformed_or_empty_region_is_refused_by_name(text):
    with pytest.raises(QueryError, match="region") as caught:
        Region.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "corner", "size"),
    [
        ("10,20,30,15", (10, 20), (30, 15)),
        ("0,0,100,50", (0, 0), (100, 50)),
        ("90,40,500,500", (90, 40), (10, 10)),
        ("10%,20%,30%,50%", (10, 10), (30, 25)),
        ("50%,0%,100%,100%", (50, 0), (50, 50)),
    ],
    ids=["pixels", "everything", "beyond the edge", "per cent", "per cent beyond the edge"],
)
def test_a_region_cuts_out_the_pixels_that_it_names(text, corner, size):
    part = Region.parse(text).cut(picture(100, 50))
    assert (part.width, part.height) == part.image.size == size
    assert part.image.getpixel((0, 0)) == (*corner, 0)
    assert part.image.getpixel((size[0] - 1, size[1] - 1)) == (corner[0] + size[0] - 1, corner[1] + size[1] - 1, 0)


@pytest.mark.parametrize("text", ["100,0,5,5", "0,50,5,5", "100%,0%,5%,5%", "0.1,0,0.2,9"])
def test_a_region_outside_the_image_names_the_images_size(text):
    with pytest.raises(QueryError, match="100 x 50 pixels"):
        Region.parse(text).cut(picture(100, 50))


# -- fitting to the encoder's square -----------------------------------------------------------------------------------


def fitted(image, resize, size=30, **options):
    pixels = images.fit(Picture(image, *image.size), Preprocessing(size, resize, **options))
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    return pixels


def test_squash_stretches_the_whole_picture_to_the_square():
    pixels = fitted(thirds(90, 30), "squash", interpolation="bilinear")
    for column, colour in ((0, RED), (5, RED), (15, GREEN), (29, BLUE)):
        assert (pixels[:, column] == colour).all()


def test_crop_keeps_the_centre_alone():
    assert (fitted(thirds(90, 30), "crop") == GREEN).all()
    assert (fitted(thirds(30, 90), "crop")[:, [0, 15, 29]] == (RED, GREEN, BLUE)).all()


def test_pad_adds_bars_of_the_mean_colour():
    pixels = fitted(thirds(90, 30), "pad", mean=(0.2, 0.4, 1.0))
    assert (pixels[:10] == (51, 102, 255)).all()
    assert (pixels[20:] == (51, 102, 255)).all()
    assert (pixels[10:20, [0, 15, 29]] == (RED, GREEN, BLUE)).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_picture_that_has_the_square_already_is_left_alone(resize):
    assert (fitted(picture(30, 30).image, resize) == np.asarray(picture(30, 30).image)).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (7, 11), (61, 47)])
def test_a_picture_of_any_shape_and_one_colour_gives_that_colour(size, interpolation, resize):
    mean = (51 / 255, 102 / 255, 1.0)
    assert (fitted(Image.new("RGB", size, (51, 102, 255)), resize, interpolation=interpolation, mean=mean)
            == (51, 102, 255)).all()  # fmt: skip


# -- thumbnails --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "small"), [((300, 150), (60, 30)), ((150, 300), (30, 60)), ((3000, 10), (60, 1))])
def test_a_thumbnail_keeps_its_shape_within_the_side(size, small):
    data = images.jpeg_thumbnail(saved(Image.new("RGB", size, (90, 120, 40))), "it", 60)
    thumbnail = images.decode(data, "thumbnail").image
    assert data.startswith(b"\xff\xd8\xff")
    assert thumbnail.size == small
    assert np.abs(np.asarray(thumbnail).astype(int) - (90, 120, 40)).max() <= 3


def test_a_small_picture_is_not_enlarged():
    data = images.jpeg_thumbnail(saved(Image.new("RGB", (20, 10))), "it", 60)
    assert images.decode(data, "thumbnail").image.size == (20, 10)


def test_a_thumbnail_is_upright_over_white_and_carries_nothing_else():
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = 6
    exif[0x013B] = "the photographer"
    image = thirds(90, 30).convert("RGBA")
    image.putalpha(0)
    data = images.jpeg_thumbnail(saved(image, exif=exif, icc_profile=b"profile" * 9), "it", 45)
    with Image.open(io.BytesIO(data)) as thumbnail:
        assert thumbnail.size == (15, 45)
        assert (np.asarray(thumbnail) == 255).all()
        assert dict(thumbnail.getexif()) == {}
        assert "icc_profile" not in thumbnail.info


def test_encoding_leaves_the_callers_image_as_it_is():
    image = thirds(90, 30)
    images.encode_jpeg(image, 10)
    assert image.size == (90, 30)


def test_no_thumbnail_is_made_of_what_is_no_image():
    with pytest.raises(ImageError, match="not an image"):
        images.jpeg_thumbnail(b"text", "it", 60)
