"""Every message of the protocol as a Struct, with strict encoding and tolerant decoding.

Instants are int64 milliseconds UTC, positive power is drawn from the network, absence is `None`. Unknown fields are
ignored, so that an old agent survives a new trainer; NaN and infinity never reach the wire.
"""

import math
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from ringmain_protocol.errors import MessageError

ASSUMED: Final = ("fail-safe of ", "silence of ")
"""Begin of the source of a limit that holds in place of one that is silent or lost."""
MAX_MESSAGE_BYTES: Final = 1_000_000
"""Largest payload; larger ones are refused unread."""

AtMs = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Name = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]
StreamId = Annotated[str, Meta(min_length=8, max_length=64, pattern=r"^[0-9a-f]+\Z")]
Text = Annotated[str, Meta(max_length=2000)]
Position = Annotated[int, Meta(ge=-1000, le=1000)]


class Quality:
    """Quality of a reading or step value, as a number in a message (three levels of the quality of IEC 61850)."""

    GOOD: Final = 0
    SUSPECT: Final = 1
    MISSING: Final = 2


class Mode(StrEnum):
    """In `observe` the agent computes and reports; in `control` it also sends setpoints to the equipment."""

    OBSERVE = "observe"
    CONTROL = "control"


class Fallback(StrEnum):
    """Source of a setpoint or schedule: the fallback ladder, from best to last.

    Without a measured connection, equipment goes to its fail-safe powers; it is released only where nothing limits the site.
    """

    OPTIMAL = "optimal"
    INCUMBENT = "incumbent"
    SHIFTED = "shifted"
    RULE = "rule"
    RELEASE = "release"
    FAILSAFE = "failsafe"


class Scope(StrEnum):
    """Power that an envelope limits: at the point of common coupling, or of the controllable equipment together."""

    PCC = "pcc"
    CONTROLLABLE = "controllable"


class ReasonCode(StrEnum):
    """Kind of problem, for programs; `reason` is the text for people. A newer agent's code reads as `OTHER`."""

    STARTING = "starting"
    NO_PLAN = "no_plan"
    PLAN_OLD = "plan_old"
    PLAN_UNUSABLE = "plan_unusable"
    PLANNER_FAILED = "planner_failed"
    NO_SCHEDULE = "no_schedule"
    SCHEDULE_SIMPLIFIED = "schedule_simplified"
    NO_FORECAST = "no_forecast"
    PERSISTENCE = "persistence"
    MODEL_DAMAGED = "model_damaged"
    MODEL_NOT_FETCHED = "model_not_fetched"
    MODEL_PUT_ASIDE = "model_put_aside"
    PRICE_MISSING = "price_missing"
    LOAD_UNKNOWN = "load_unknown"
    METER_LOST = "meter_lost"
    POWER_UNKNOWN = "power_unknown"
    FAILSAFE_HELD = "failsafe_held"
    FAILSAFE_SHORTFALL = "failsafe_shortfall"
    ENERGY_UNKNOWN = "energy_unknown"
    TEMPERATURE_UNKNOWN = "temperature_unknown"
    POSITION_UNKNOWN = "position_unknown"
    IMPLAUSIBLE = "implausible"
    NOT_FOLLOWED = "not_followed"
    IMPORT_LIMIT_EXCEEDED = "import_limit_exceeded"
    EXPORT_LIMIT_EXCEEDED = "export_limit_exceeded"
    LOADING_EXCEEDED = "loading_exceeded"
    TOP_OIL_EXCEEDED = "top_oil_exceeded"
    HOT_SPOT_EXCEEDED = "hot_spot_exceeded"
    VOLTAGE_LOW = "voltage_low"
    VOLTAGE_HIGH = "voltage_high"
    TRANSFORMER_LIMIT = "transformer_limit"
    SETPOINT_LIMITED = "setpoint_limited"
    SETPOINT_NOT_FINITE = "setpoint_not_finite"
    NO_OPERATION_LEFT = "no_operation_left"
    UNKNOWN_EQUIPMENT = "unknown_equipment"
    STATE_NOT_WRITTEN = "state_not_written"
    STATE_BEGUN_ANEW = "state_begun_anew"
    LIMIT_NARROWED = "limit_narrowed"
    OPERATOR_SILENT = "operator_silent"
    LOCAL_LIMIT_SILENT = "local_limit_silent"
    LIMITS_LOST = "limits_lost"
    STAGE_FAILED = "stage_failed"
    SYSTEMD_NOT_NOTIFIED = "systemd_not_notified"
    SWITCH_UNKNOWN = "switch_unknown"
    WILL_MISSING = "will_missing"
    SECOND_AGENT = "second_agent"
    CLOCK_DOUBT = "clock_doubt"
    CLOCK_SET = "clock_set"
    SENDER_CLOCK = "sender_clock"
    TEMPERATURE_ASSUMED = "temperature_assumed"
    BALANCE_RESIDUAL = "balance_residual"
    OPPOSED = "opposed"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> "ReasonCode | None":
        return cls.OTHER if isinstance(value, str) else None


class _Columns(Struct, frozen=True, kw_only=True):
    """Four parallel arrays, one entry a value."""

    signals: list[Name]
    at_ms: list[AtMs]
    values: list[float | None]
    quality: list[Annotated[int, Meta(ge=0, le=2)]]

    def __post_init__(self) -> None:
        if not len(self.signals) == len(self.at_ms) == len(self.values) == len(self.quality):
            raise ValueError("signals, at_ms, values and quality must be of one length")


class Readings(_Columns, frozen=True, kw_only=True):
    """Readings of the feeds, in our units and sign: agent to bridge."""

    stream: StreamId
    sequence: Count


class Steps(_Columns, frozen=True, kw_only=True):
    """Step values, the input of the agent's forecasts; `at_ms` is the START of the step."""

    stream: StreamId
    sequence: Count
    step_s: Annotated[int, Meta(gt=0, le=86400)]


class Forecast(Struct, frozen=True, kw_only=True):
    """Quantiles of one signal for the steps from `issued_at_ms` on.

    `values[lead][quantile]`, non-decreasing along the quantiles. `release` is 0 for persistence; `reason` then tells why
    no model was used.
    """

    stream: StreamId
    sequence: Count
    signal: Name
    issued_at_ms: AtMs
    step_s: Annotated[int, Meta(gt=0, le=86400)]
    quantiles: list[Annotated[float, Meta(gt=0, lt=1)]]
    values: list[list[float]]
    release: Count
    reason: Text = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.quantiles) for row in self.values):
            raise ValueError("every lead needs one value for each quantile")


class Schedule(Struct, frozen=True, kw_only=True):
    """Decisions for the steps from `issued_at_ms` on. State of charge is the value at the END of a step.

    `positions` are those of tap changers and capacitor banks.
    """

    stream: StreamId
    sequence: Count
    issued_at_ms: AtMs
    step_s: Annotated[int, Meta(gt=0, le=86400)]
    fallback: Fallback
    pcc_kw: list[float]
    power_kw: dict[Name, list[float]]
    soc_kwh: dict[Name, list[float]]
    reason: Text = ""
    positions: dict[Name, list[Position]] = {}
    reason_codes: list[ReasonCode] = []


class Setpoint(Struct, frozen=True, kw_only=True):
    """Setpoints of one control cycle. `None` releases the equipment; in observe the agent sent none of them.

    A position of `None` leaves the equipment in its position.
    """

    stream: StreamId
    sequence: Count
    issued_at_ms: AtMs
    valid_for_s: Annotated[float, Meta(gt=0)]
    mode: Mode
    fallback: Fallback
    power_kw: dict[Name, float | None]
    reason: Text = ""
    positions: dict[Name, Position | None] = {}
    reason_codes: list[ReasonCode] = []


class ActiveFailsafe(Struct, frozen=True, kw_only=True):
    """The fail-safe of a site while it lasts: its cause, and its begin."""

    why: Text
    since_ms: AtMs


class FeedState(Struct, frozen=True, kw_only=True):
    """Newest value of a feed, its age, and why it does not count (empty if it counts)."""

    value: float | None = None
    age_s: float | None = None
    reason: Annotated[str, Meta(max_length=200)] = ""


class Limit(Struct, frozen=True, kw_only=True):
    """A limit in force, by `source` since `since_ms`; its name ends in the unit of its value."""

    name: Name
    value: Annotated[float, Meta(ge=0)]
    source: Annotated[str, Meta(max_length=200)]
    since_ms: AtMs

    @property
    def is_assumed(self) -> bool:
        """True if it holds in place of a limit whose source is silent or lost."""
        return self.source.startswith(ASSUMED)


class Status(Struct, frozen=True, kw_only=True):
    """Latest state of a site, retained and outside the outbox.

    `models_put_aside` names the signals whose newest model has ended the processes that ran it, with the reason.
    `forecast_error_kw` and `persistence_error_kw` are mean absolute errors over the last day of matched steps.
    """

    at_ms: AtMs
    time_zone: Annotated[str, Meta(max_length=64)]
    agent_version: Annotated[str, Meta(max_length=32)]
    config_sha256: Annotated[str, Meta(max_length=64)]
    stream: StreamId
    mode: Mode
    mode_source: Annotated[str, Meta(max_length=32)]
    fallback: Fallback
    releases: dict[Name, Count]
    forecast_error_kw: dict[Name, float] = {}
    persistence_error_kw: dict[Name, float] = {}
    soc_pu: dict[Name, float] = {}
    transformer_loading_pu: dict[Name, float] = {}
    transformer_hot_spot_degc: dict[Name, float] = {}
    billing_peak_kw: float | None = None
    outbox_messages: Count = 0
    outbox_capacity_messages: Count | None = None
    dropped: dict[Name, Count] = {}
    rejected: dict[Name, Count] = {}
    stage_failures: dict[Name, Count] = {}
    state_begun_anew: Text = ""
    clock_offset_s: float | None = None
    clock_trusted: bool | None = None
    connections: dict[Name, Text] = {}
    not_followed: list[Name] = []
    failsafe: ActiveFailsafe | None = None
    powers_kw: dict[Name, float] = {}
    balance_residual_kw: float | None = None
    feeds: dict[Name, FeedState] = {}
    reason: Text = ""
    reason_codes: list[ReasonCode] = []
    models_put_aside: dict[Name, Text] = {}
    limits: list[Limit] = []


class Online(Struct, frozen=True, kw_only=True):
    """Birth (`online` true) and will (false) of an agent; `since_ms` is when the agent connected.

    `instance` is an id of the process, and `started_ms` its start: of two agents of a site, the later start observes.
    """

    online: bool
    since_ms: AtMs
    stream: StreamId | None = None
    instance: StreamId | None = None
    started_ms: AtMs | None = None


RECEIPT_RANGES_MAX: Final = 200
"""Ranges of one receipt."""


class Receipt(Struct, frozen=True, kw_only=True):
    """Sequences of a stream that have arrived in Kafka, as inclusive ranges."""

    stream: StreamId
    ranges: Annotated[list[tuple[Count, Count]], Meta(max_length=RECEIPT_RANGES_MAX)]


class Series(Struct, frozen=True, kw_only=True):
    """Values into the future as known at `issued_at_ms`: weather, prices."""

    issued_at_ms: AtMs
    start_ms: AtMs
    step_s: Annotated[int, Meta(gt=0, le=86400)]
    unit: Annotated[str, Meta(max_length=32)]
    values: list[float | None]


class Envelope(Struct, frozen=True, kw_only=True):
    """Import and export limits by the network operator, both non-negative; `None` sets no limit for that step.

    Without `breach_price_per_kwh` an envelope is binding. With it, it is a demand-response request: each kWh beyond it has
    that price. All binding envelopes of a step apply together. Of several requests for a step the one with the highest
    priority applies, and among equals the narrowest.

    `valid_for_s` counts from the first receipt of an issue; of it and `expires_at_ms`, the earlier ends the envelope. After
    twice `heartbeat_s` without a newer issue, or at its end, an envelope with a heartbeat gives its fail-safe limits until
    the next issue, and for at least `failsafe_min_s`. A limit that ends or rises returns after a random delay of at most
    `release_delay_max_s`, gradually over `release_ramp_s`.
    """

    issued_at_ms: AtMs
    expires_at_ms: AtMs
    priority: Annotated[int, Meta(ge=0, le=9)]
    start_ms: AtMs
    step_s: Annotated[int, Meta(gt=0, le=86400)]
    import_limit_kw: list[Annotated[float, Meta(ge=0)] | None]
    export_limit_kw: list[Annotated[float, Meta(ge=0)] | None]
    breach_price_per_kwh: Annotated[float, Meta(ge=0, le=10_000)] | None = None
    valid_for_s: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    heartbeat_s: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    failsafe_import_kw: Annotated[float, Meta(ge=0)] | None = None
    failsafe_export_kw: Annotated[float, Meta(ge=0)] | None = None
    failsafe_min_s: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    scope: Scope = Scope.PCC
    release_ramp_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    release_delay_max_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class EnvelopeAnswer(Struct, frozen=True, kw_only=True):
    """Answer to an issue of an envelope: `accepted`, and in effect from `in_effect_at_ms` on; or refused for `reason`."""

    accepted: bool
    reason: Text = ""
    issued_at_ms: AtMs | None = None
    in_effect_at_ms: AtMs | None = None


class Tick(Struct, frozen=True, kw_only=True):
    """Lockstep clock: `now_ms` is the simulated time, `messages[site]` the number of feed messages of this tick.

    An unanswered tick is sent again, with its feed messages, under the same number. A wall clock that is wrong on purpose
    needs `monotonic_ms`, the monotonic clock of the same moment; `synchronized` is what the kernel would say of it.
    """

    tick: Count
    now_ms: AtMs
    messages: dict[str, Count]
    monotonic_ms: AtMs | None = None
    synchronized: bool = True


class Answer(Struct, frozen=True, kw_only=True):
    """The agent has computed and committed `tick`, and sent `setpoints` messages to its equipment."""

    tick: Count
    setpoints: Count


Message = TypeVar("Message", bound=Struct)

_ENCODER: Final = msgspec.json.Encoder()
_DECODERS: dict[type[Struct], msgspec.json.Decoder[Any]] = {}


def encode(message: Struct) -> bytes:
    """The payload of a message.

    Raises:
        MessageError: If it holds a number that is not finite, or a value out of its range.
    """
    _require_finite(message)
    payload = _ENCODER.encode(message)
    decode(payload, type(message))
    return payload


def decode(payload: bytes | bytearray | memoryview, kind: type[Message]) -> Message:
    """The message in a payload; unknown fields are ignored.

    Raises:
        MessageError: With reason `too_large`, `undecodable` (not JSON, not UTF-8) or `invalid` (another shape or range).
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError("too_large", f"payload of {len(payload)} bytes exceeds the limit of {MAX_MESSAGE_BYTES} bytes")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        message: Message = decoder.decode(str(payload, "utf-8"))  # msgspec does not check the UTF-8 of skipped fields
    except msgspec.ValidationError as error:
        raise MessageError("invalid", f"{kind.__name__}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("undecodable", f"{kind.__name__}: {error}") from error
    return message


def _require_finite(value: object) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise MessageError("not_finite", f"{value} is not a finite number; send null for an absent value")
    elif isinstance(value, list | tuple):
        for item in value:
            if item.__class__ is not str and item.__class__ is not int:
                _require_finite(item)
    elif isinstance(value, dict):
        for item in value.values():
            _require_finite(item)
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            _require_finite(getattr(value, name))
