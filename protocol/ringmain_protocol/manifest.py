"""Manifest of a model file, and the release that each site may run.

A model is ONE ONNX file per site and signal. Inputs `history` float32 [batch, history_steps, signals] (NaN = missing,
the target first, last row = the step that ended at `issued_at_s`), `known_future` float32 [batch, horizon_steps, series]
and `issued_at_s` int64 [batch]; output `quantiles` float32 [batch, horizon_steps, quantiles], non-decreasing. Manifest
(JSON) and golden vectors (base64 of a NumPy .npz with the three inputs and `quantiles`) stand in its metadata.
"""

from hashlib import sha256
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import AtMs, Name
from ringmain_protocol.topics import is_site

FORMAT: Final = 1
MANIFEST_KEY: Final = "manifest"
GOLDEN_KEY: Final = "golden"
MAX_MODEL_BYTES: Final = 20_000_000
MODEL_FOLDER: Final = "models/"
"""Agents refuse a model path outside this folder: the online role may sign any file below `rollout/`."""

Release = Annotated[int, Meta(ge=1, le=2**31)]


class ModelManifest(Struct, frozen=True, kw_only=True):
    """Description of a model for the agent that runs it.

    `signals` and `series` map names to units in the order of the columns, the target first. The model is not used outside
    `years`, or with less than `history_share_min` of the target column. `tolerance` is the largest allowed difference
    from the golden vectors, in the unit of the target.
    """

    format: Annotated[int, Meta(ge=1, le=FORMAT)]
    site: str
    signal: Name
    release: Release
    created_at_ms: AtMs
    signals: dict[Name, str]
    series: dict[Name, str]
    step_s: Annotated[int, Meta(gt=0, le=86400)]
    history_steps: Annotated[int, Meta(gt=0, le=20_000)]
    horizon_steps: Annotated[int, Meta(gt=0, le=2_000)]
    quantiles: list[Annotated[float, Meta(gt=0, lt=1)]]
    time_zone: str
    holidays: list[str]
    years: tuple[int, int]
    history_share_min: Annotated[float, Meta(ge=0, le=1)]
    tolerance: Annotated[float, Meta(gt=0)]
    trained_from_ms: AtMs
    trained_to_ms: AtMs
    trained_forecasts: Annotated[int, Meta(ge=0)]
    trained_sha256: str
    metrics: dict[str, float] = {}
    made_with: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not is_site(self.site):
            raise ValueError(f"site {self.site!r} is not a site id")
        if next(iter(self.signals), None) != self.signal:
            raise ValueError("the target must be the first of the signals")
        if sorted(self.quantiles) != self.quantiles or 0.5 not in self.quantiles:
            raise ValueError("quantiles must rise and hold 0.5")


class Rollout(Struct, frozen=True, kw_only=True):
    """Release of each site: `rollout/<channel>.json`, signed by the online role.

    A site runs `release` if `sites` names it or its hash is below `permille`, else `previous` (0: its present release).
    """

    release: Release
    previous: Annotated[int, Meta(ge=0)]
    permille: Annotated[int, Meta(ge=0, le=1000)]
    sites: list[str] = []
    salt: str = ""
    hold: bool = False


Document = TypeVar("Document", bound=Struct)


def decode_document(data: bytes | str, kind: type[Document]) -> Document:
    """A manifest or rollout file; unknown fields are ignored.

    Raises:
        MessageError: With reason `invalid` if it is not of this kind.
    """
    try:
        document: Document = msgspec.json.decode(data if isinstance(data, str) else str(data, "utf-8"), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("invalid", f"{kind.__name__}: {error}") from error
    return document


def encode_document(document: Struct) -> bytes:
    """A manifest or rollout file, with stable order and indentation of one."""
    return bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))


def target_path(signal: str, site: str, release: int) -> str:
    """Path of a model in the signed repository."""
    return f"{MODEL_FOLDER}{signal}/{site}/{release}.onnx"


def rollout_path(channel: str) -> str:
    """Path of a channel's rollout file in the signed repository."""
    return f"rollout/{channel}.json"


def selected_release(rollout: Rollout, site: str) -> int:
    """The release of this site; 0 means its present one. Deterministic and local."""
    bucket = int.from_bytes(sha256(f"{rollout.salt}:{site}".encode()).digest()[:8], "big") % 1000
    chosen = site in rollout.sites or bucket < rollout.permille
    return rollout.release if chosen else rollout.previous
