"""From what a person writes after ``--encoder`` to an encoder."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from simsearch.encoders.base import Encoder
from simsearch.encoders.locations import ClipLocation, Location, parse_location
from simsearch.encoders.running import Running
from simsearch.errors import EncoderError

MODELS = Path(__file__).parent / "models"
"""Where shipped model folders lie: a folder a name."""
SHIPPED = ("art",)
"""Names of the model folders that a release brings along."""
BUILT_IN = ("color", *(name for name in SHIPPED if (MODELS / name / "image.onnx").is_file()))
"""Names that need no folder. A shipped one is among them where this installation has it."""
DEFAULT = "color"
TEXT_TOWER = "text.onnx"


def load_encoder(name: str, running: Running | None = None) -> Encoder:
    """The encoder of a built-in name, of a model folder, or of a location that begins with clip: or timm:.

    `running` says how networks of torch are run; the others run on the processor, whatever it says. Raises EncoderError
    with the names there are, or with what the network lacks.
    """
    if name == "color":
        from simsearch.encoders.color import ColorEncoder

        return ColorEncoder()
    if name in SHIPPED:
        return _shipped(name)
    location = parse_location(name)
    if location is not None:
        return _on_torch(location, running)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _of_folder(folder)
    near = get_close_matches(name, BUILT_IN, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(BUILT_IN)}; or give a model folder"
    raise EncoderError(f"there is no encoder {name!r}, nor a folder of that name; {hint}")


def reads_text(location: str) -> bool:
    """Whether the encoder at a stored location has a text tower, told without loading it."""
    if location.startswith("clip:"):
        return True
    return (MODELS / location / TEXT_TOWER).is_file() or (Path(location) / TEXT_TOWER).is_file()


def location_of(encoder: Encoder) -> str:
    """What :func:`load_encoder` needs to find this encoder again."""
    return str(getattr(encoder, "location", encoder.info.name))


def _shipped(name: str) -> Encoder:
    folder = MODELS / name
    if not folder.is_dir():
        raise EncoderError(
            f"this installation came without the encoder {name!r}: there is no {folder}; install a release of "
            f"simsearch, or name a folder called {name} as ./{name}"
        )
    return _of_folder(folder, name)


def _of_folder(folder: Path, location: str | None = None) -> Encoder:
    from simsearch.encoders.onnx import open_folder

    return open_folder(folder, location)


def _on_torch(location: Location, running: Running | None) -> Encoder:
    package, name = ("openclip", "OpenClipEncoder") if isinstance(location, ClipLocation) else ("timm", "TimmEncoder")
    try:
        module = import_module(f"simsearch.encoders.{package}")
    except ImportError as error:
        raise EncoderError(
            f"{location} needs torch, timm and open_clip ({_said(error)}); run `pip install 'simsearch[torch]'`"
        ) from error
    except RuntimeError as error:  # what torchvision raises where its operators were compiled for another torch
        raise EncoderError(
            f"{location} needs torchvision, which cannot be imported ({_said(error)}); install the one made for your "
            "version of torch"
        ) from error
    encoder: Any = getattr(module, name)(location, running)
    return encoder  # type: ignore[no-any-return]


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
