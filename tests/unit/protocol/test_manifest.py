"""The manifest inside a model file, and who runs which release."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import (
    FORMAT,
    MODEL_FOLDER,
    ModelManifest,
    Rollout,
    decode_document,
    encode_document,
    rollout_path,
    selected_release,
    target_path,
)

SITES = st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)


def manifest(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "format": FORMAT,
        "site": "liander-287",
        "signal": "load_kw",
        "release": 3,
        "created_at_ms": 0,
        "signals": {"load_kw": "kW", "temperature_degc": "degC"},
        "series": {"radiation_w_per_m2": "W/m2"},
        "step_s": 900,
        "history_steps": 768,
        "horizon_steps": 96,
        "quantiles": [0.1, 0.5, 0.9],
        "time_zone": "Europe/Amsterdam",
        "holidays": ["2020-12-25"],
        "years": [2020, 2030],
        "history_share_min": 0.5,
        "tolerance": 0.01,
        "trained_from_ms": 0,
        "trained_to_ms": 1,
        "trained_forecasts": 10,
        "trained_sha256": "ab",
    }
    return json.dumps(fields | changes).encode()


def test_a_manifest_keeps_the_order_of_its_columns() -> None:
    read = decode_document(manifest(), ModelManifest)
    assert list(read.signals) == ["load_kw", "temperature_degc"]
    assert decode_document(encode_document(read), ModelManifest) == read
    assert list(decode_document(encode_document(read), ModelManifest).signals) == ["load_kw", "temperature_degc"]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": FORMAT + 1},
        {"format": 0},
        {"site": "Not A Site"},
        {"site": "../../etc"},
        {"signals": {"temperature_degc": "degC", "load_kw": "kW"}},
        {"signals": {}},
        {"quantiles": [0.1, 0.9]},
        {"quantiles": [0.9, 0.5, 0.1]},
        {"quantiles": [0.0, 0.5]},
        {"history_steps": 0},
        {"history_steps": 10**9},
        {"horizon_steps": 10**9},
        {"history_share_min": 1.5},
        {"tolerance": 0},
        {"years": [2020]},
        {"release": 0},
    ],
)
def test_a_manifest_that_no_agent_could_use_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        decode_document(manifest(**changes), ModelManifest)
    assert caught.value.reason == "invalid"


def test_a_manifest_with_fields_of_a_newer_trainer_is_read() -> None:
    assert decode_document(manifest(added_later=1), ModelManifest).release == 3


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        decode_document(data, ModelManifest)
    assert caught.value.reason == "invalid"


def test_paths_in_the_repository_are_fixed() -> None:
    assert target_path("load_kw", "liander-287", 3) == "models/load_kw/liander-287/3.onnx"
    assert target_path("load_kw", "liander-287", 3).startswith(MODEL_FOLDER)
    assert rollout_path("stable") == "rollout/stable.json"
    assert not rollout_path("stable").startswith(MODEL_FOLDER)


@given(site=SITES)
def test_a_site_named_in_the_rollout_runs_the_release(site: str) -> None:
    assert selected_release(Rollout(release=5, previous=4, permille=0, sites=[site]), site) == 5


@given(site=SITES, salt=st.text(max_size=8))
def test_no_site_is_chosen_at_0_permille_and_every_site_at_1000(site: str, salt: str) -> None:
    assert selected_release(Rollout(release=5, previous=4, permille=0, salt=salt), site) == 4
    assert selected_release(Rollout(release=5, previous=4, permille=1000, salt=salt), site) == 5


@given(site=SITES, salt=st.text(max_size=8), permille=st.integers(0, 999))
def test_a_site_once_chosen_stays_chosen_while_the_share_grows(site: str, salt: str, permille: int) -> None:
    smaller = selected_release(Rollout(release=5, previous=4, permille=permille, salt=salt), site)
    larger = selected_release(Rollout(release=5, previous=4, permille=permille + 1, salt=salt), site)
    assert (smaller, larger) in {(4, 4), (4, 5), (5, 5)}


def test_the_share_is_about_what_was_asked_for() -> None:
    rollout = Rollout(release=2, previous=1, permille=250, salt="r2")
    chosen = [selected_release(rollout, f"site-{i}") for i in range(4000)].count(2)
    assert 900 <= chosen <= 1100  # 1,000 expected, standard deviation 27


def test_another_salt_chooses_other_sites() -> None:
    sites = [f"site-{i}" for i in range(200)]
    chosen = [
        [site for site in sites if selected_release(Rollout(release=2, previous=1, permille=500, salt=salt), site) == 2]
        for salt in ("a", "b")
    ]
    assert chosen[0] != chosen[1]
