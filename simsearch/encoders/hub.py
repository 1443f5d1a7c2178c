"""Files of the Hugging Face hub: what was downloaded is used without a connection, and its lack is said at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simsearch.encoders.checkpoints import said
from simsearch.errors import EncoderError

PROBE_TIMEOUT_S = 10.0


def hub_file(repository: str, names: Sequence[str], wanted: str, otherwise: str) -> Path:
    """The first of these files that a repository has, from the cache or downloaded into it.

    Raises EncoderError where there is none: what was `wanted`, where it was looked for, and what to do `otherwise`.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    reason = why_unreachable()
    if not reason:
        for name in names:
            try:
                return Path(hf_hub_download(repository, name))
            except Exception as error:  # of the hub's client, of its connection, of the disk
                reason = said(error)
    raise EncoderError(
        f"{wanted} cannot be had: {' or '.join(names)} of {repository} is not in {constants.HF_HUB_CACHE}, and "
        f"{constants.ENDPOINT} gave nothing ({reason}); {otherwise}"
    )


def why_unreachable() -> str:
    """Why the hub cannot be reached, or nothing; its own client would find out only after half a minute of attempts."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "offline mode is on"
    try:
        requests.head(constants.ENDPOINT, timeout=PROBE_TIMEOUT_S)
    except requests.Timeout:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except requests.RequestException:
        return "no connection"
    return ""
