"""Which model files are put aside: what killed or hung a process twice, for good, and nothing else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.models.trial_record import BREAKS_MAX, DEATHS_MAX, FILES_KEPT, TrialRecord, broke, died, ran

FILES = [letter * 64 for letter in "abc"]
EVENTS = st.lists(st.tuples(st.sampled_from(["died", "broke", "ran"]), st.sets(st.sampled_from(FILES))), max_size=30)


@given(events=EVENTS)
def test_a_file_is_put_aside_exactly_when_it_was_on_trial_often_enough(events: list[tuple[str, set[str]]]) -> None:
    record = TrialRecord()
    deaths, breaks, aside = dict.fromkeys(FILES, 0), dict.fromkeys(FILES, 0), set[str]()
    for event, files in events:
        if event == "died":
            record = died(record, files, "ended the planner")
            deaths |= {file: deaths[file] + 1 for file in files}
        elif event == "broke":
            record = broke(record, files)
            breaks |= {file: breaks[file] + 1 for file in files}
        else:
            record = ran(record, files)
            breaks |= dict.fromkeys(files, 0)
        aside |= {file for file in FILES if deaths[file] >= DEATHS_MAX or breaks[file] >= BREAKS_MAX}
        assert set(record.put_aside) == aside
        assert msgspec.json.decode(msgspec.json.encode(record), type=TrialRecord) == record


def test_the_reason_says_how_often_and_how() -> None:
    record = TrialRecord()
    for _ in range(DEATHS_MAX):
        record = died(record, FILES[:1], "ended the planner (it ended)")
    assert record.put_aside == {FILES[0]: "2 times ended the planner (it ended)"}


def test_the_record_is_bounded() -> None:
    record = TrialRecord()
    for number in range(FILES_KEPT + 5):
        for _ in range(1 + number % 2):
            record = died(record, [f"{number:064x}"], "x" * 1000)
    assert max(len(record.deaths), len(record.put_aside)) <= FILES_KEPT
    assert max(map(len, record.put_aside.values())) <= 300
