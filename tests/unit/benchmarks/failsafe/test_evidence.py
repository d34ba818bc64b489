"""A fault is said by a new fact in a status, not by what stood there before."""

from benchmarks.failsafe.evidence import facts, said

BEFORE = {"mode": "control", "reason": "limit less margin is exceeded by up to 498 kW", "rejected": {"too_large": 1}}


def test_a_number_that_changes_in_a_text_is_no_new_fact() -> None:
    assert facts(BEFORE) == facts(BEFORE | {"reason": "limit less margin is exceeded by up to 12.5 kW"})


def test_a_counter_that_rises_is_a_new_fact() -> None:
    after = facts(BEFORE | {"rejected": {"too_large": 2}})
    assert said(["too_large"], facts(BEFORE), after) == "rejected too_large 2"


def test_what_stood_there_before_names_nothing() -> None:
    assert said(["margin", "too_large"], facts(BEFORE), facts(BEFORE)) is None


def test_every_field_that_may_name_a_fault_is_looked_at() -> None:
    after = {
        "reason": "battery does the opposite",
        "reason_codes": ["load_unknown"],
        "not_followed": ["pv"],
        "mode": "observe",
        "fallback": "failsafe",
        "connections": {"local": "was lost", "upstream": ""},
        "feeds": {"pcc_kw": {"value": 3.0, "reason": "no value for 7 s"}, "pv_kw": {"value": 1.0, "reason": ""}},
        "limits": [{"name": "import", "value": 700.0, "source": "ripple"}],
        "failsafe": {"why": "pcc_kw is lost", "since_ms": 5},
        "state_begun_anew": 1,
        "models_put_aside": {"ab12": "hung twice"},
    }
    new = facts(after) - facts(BEFORE)
    for says in (
        "opposite",
        "code load_unknown",
        "not_followed pv",
        "mode observe",
        "fallback failsafe",
        "connection local",
    ):
        assert said([says], facts(BEFORE), new), says
    for says in ("feed pcc_kw", "limit .*ripple", "failsafe .*lost", "state_begun_anew", "models_put_aside ab"):
        assert said([says], facts(BEFORE), new), says
    assert not any("pv_kw" in fact or "upstream" in fact for fact in new)
