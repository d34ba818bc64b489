"""Switching operations are counted by the local day, from what is measured and not from what was told."""

from ringmain_agent.equipment.switching_operations import Operations, count_operations, operations_left
from ringmain_agent.site.nameplates import CapacitorBank

MIDNIGHT_MS = 1_604_185_200_000
"""2020-11-01 00:00 in Amsterdam is 23:00 UTC of the day before."""
BANK = CapacitorBank(name="bank", step_kvar=100.0, steps=4, operations_per_day=3)


def test_every_step_of_a_position_is_an_operation() -> None:
    operations = Operations()
    for minute, position in enumerate([2, 2, 3, 3, 1, None, float("nan"), 1]):
        operations = count_operations(
            operations, position, time_zone="Europe/Amsterdam", now_ms=MIDNIGHT_MS + 60_000 * minute
        )
    assert (operations.position, operations.done, operations_left(operations, BANK)) == (1, 3, 0)


def test_count_begins_anew_with_the_local_day() -> None:
    before = count_operations(Operations(position=1), 3, time_zone="Europe/Amsterdam", now_ms=MIDNIGHT_MS - 1)
    after = count_operations(before, 4, time_zone="Europe/Amsterdam", now_ms=MIDNIGHT_MS)
    assert (before.done, after.done) == (2, 1)


def test_nothing_is_left_below_nothing() -> None:
    assert operations_left(Operations(done=9), BANK) == 0


def test_a_clock_that_jumps_to_and_fro_allows_no_more_operations() -> None:
    operations = Operations()
    for position, day, clock_trusted in ((0, 20, True), (3, 20, True), (3, 60, False), (3, 2, False), (5, 20, True)):
        now_ms = day * 86_400_000
        operations = count_operations(
            operations, float(position), time_zone="UTC", now_ms=now_ms, clock_trusted=clock_trusted
        )
    assert operations.done == 5
    tomorrow = count_operations(operations, 5.0, time_zone="UTC", now_ms=21 * 86_400_000)
    assert tomorrow.done == 0
