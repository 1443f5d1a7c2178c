"""From what a person writes after ``--encoder`` to an encoder."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from simsearch.encoders.base import Encoder
from simsearch.errors import EncoderError

MODELS = Path(__file__).parent / "models"
"""Where shipped model folders lie: a folder a name."""
SHIPPED = ("art",)
"""Names of the model folders that a release brings along."""
BUILT_IN = ("color", *(name for name in SHIPPED if (MODELS / name / "image.onnx").is_file()))
"""Names that need no folder. A shipped one is among them where this installation has it."""
DEFAULT = "color"


def load_encoder(name: str) -> Encoder:
    """The encoder of a built-in name or of a model folder. Raises EncoderError with the names there are."""
    if name == "color":
        from simsearch.encoders.color import ColorEncoder

        return ColorEncoder()
    if name in SHIPPED:
        return _shipped(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        from simsearch.encoders.onnx import OnnxEncoder

        return OnnxEncoder(folder)
    near = get_close_matches(name, BUILT_IN, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(BUILT_IN)}; or give a model folder"
    raise EncoderError(f"there is no encoder {name!r}, nor a folder of that name; {hint}")


def location_of(encoder: Encoder) -> str:
    """What :func:`load_encoder` needs to find this encoder again."""
    return str(getattr(encoder, "location", encoder.info.name))


def _shipped(name: str) -> Encoder:
    from simsearch.encoders.onnx import OnnxEncoder

    folder = MODELS / name
    if not folder.is_dir():
        raise EncoderError(
            f"this installation came without the encoder {name!r}: there is no {folder}; install a release of "
            f"simsearch, or name a folder called {name} as ./{name}"
        )
    return OnnxEncoder(folder, name)
