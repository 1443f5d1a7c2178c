"""From what a person writes after ``--encoder`` to an encoder."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from simsearch.encoders.base import Encoder
from simsearch.errors import EncoderError

BUILT_IN = ("color",)
DEFAULT = "color"


def load_encoder(name: str) -> Encoder:
    """The encoder of a built-in name or of a model folder. Raises EncoderError with the names there are."""
    if name == "color":
        from simsearch.encoders.color import ColorEncoder

        return ColorEncoder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        from simsearch.encoders.onnx import OnnxEncoder

        return OnnxEncoder(folder)
    near = get_close_matches(name, BUILT_IN, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(BUILT_IN)}; or give a model folder"
    raise EncoderError(f"there is no encoder {name!r}, nor a folder of that name; {hint}")


def location_of(encoder: Encoder) -> str:
    """What :func:`load_encoder` needs to find this encoder again."""
    folder = getattr(encoder, "folder", None)
    return str(folder) if folder is not None else encoder.info.name
