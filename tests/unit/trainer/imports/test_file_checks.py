"""Faults of a file that leave its rows usable are warnings of the import, with their place and what to do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ringmain_program.config import ConfigError

LOAD = 'column = "load"\nsignal = "load_kw"\nunit = "kW"'
AMSTERDAM = "Europe/Amsterdam"
Take = Callable[..., list[Any]]


def mapping(file: str, *signals: str) -> str:
    return "\n".join(["[file]", file, *(f"[[signal]]\n{signal}" for signal in signals)])


def quarters(hours: Sequence[str], day: str) -> str:
    """A row for each quarter of these hours."""
    return "".join(f"{day} {hour}:{minute:02d},1\n" for hour in hours for minute in (0, 15, 30, 45))


def test_a_clean_file_has_no_warning(take: Take) -> None:
    text = "time,load\n" + quarters(("00", "01", "02", "03", "04"), "2024-03-31")
    (one,) = take(text, mapping('time = "time"\nsite = "uw-1"', LOAD), local_time_zone=AMSTERDAM)
    assert one.warnings == []


def test_a_missing_hour_of_the_local_clock_in_utc_stamps_is_said_with_line_and_key(take: Take) -> None:
    text = "time,load\n" + quarters(("00", "01", "03", "04"), "2024-03-31")
    (one,) = take(text, mapping('time = "time"\nsite = "uw-1"', LOAD), local_time_zone=AMSTERDAM)
    assert one.rows == 16
    (warning,) = one.warnings
    assert warning.startswith("line 10, 2024-03-31 02:00: the hour 2024-03-31 02:00:00 to 2024-03-31 03:00:00 is missing")
    assert "time_zone = 'Europe/Amsterdam' in the mapping, or --time-zone" in warning
    (local,) = take(text, mapping(f'time = "time"\nsite = "uw-1"\ntime_zone = "{AMSTERDAM}"', LOAD))
    assert local.warnings == []


def test_a_file_that_is_newest_first_has_no_warning(take: Take) -> None:
    rows = quarters(("00", "01", "02", "03"), "2024-03-31").splitlines()
    text = "time,load\n" + "\n".join(reversed(rows)) + "\n"
    (one,) = take(text, mapping('time = "time"\nsite = "uw-1"', LOAD), local_time_zone=AMSTERDAM)
    assert one.warnings == []


def test_stamps_beside_whole_steps_are_said(take: Take) -> None:
    text = "time,load\n2024-01-01 00:07,1\n2024-01-01 00:22,1\n2024-01-01 00:37,1\n"
    (one,) = take(text, mapping('time = "time"\nsite = "uw-1"', LOAD))
    (warning,) = one.warnings
    assert warning.startswith("line 2, 2024-01-01 00:07: 3 stamps are not on whole steps of 900 s; they count for the steps")


def test_power_that_current_and_measured_voltage_cannot_carry_is_said(take: Take) -> None:
    text = "time,load,i,u\n" + "".join(f"2024-01-01 0{h}:00,1000,20,10000\n" for h in range(5))
    more = ('column = "i"\nsignal = "load_a"\nunit = "A"', 'column = "u"\nsignal = "load_v"\nunit = "V"')
    power, current, _ = take(text, mapping('time = "time"\nsite = "uw-1"', LOAD, *more), step_s=3600)
    assert current.warnings == []
    (warning,) = power.warnings
    assert warning.startswith("2024-01-01 00:00: power over current gives 28.9 kV, above the nominal 10 kV")
    assert "look at the units" in warning


def test_a_nominal_voltage_stands_with_a_current(take: Take) -> None:
    with pytest.raises(ConfigError, match="nominal_kv stands with a current"):
        take("time,load\n2024-01-01,1\n", mapping('time = "time"\nsite = "uw-1"', LOAD + "\nnominal_kv = 10"))


# the real files, each with its trap


def test_midnight_of_the_steel_plant_carries_the_day_that_ended(real: Callable[[str], Path], take: Take) -> None:
    signal = 'column = "Usage_kWh"\nsignal = "load_kw"\nunit = "kWh per interval"'
    file = 'time = "date"\ntime_zone = "Asia/Seoul"\nsite = "steel"\nstep_s = 900\n'
    path = real("steel_industry_15min.csv.gz")
    (one,) = take(path, mapping(file + 'order = "any"', signal))
    (warning,) = one.warnings
    assert warning.startswith("line 97, 2018-01-01 00:00: 365 rows of midnight stand behind the last of their day")
    assert 'midnight = "next_day"' in warning
    (mended,) = take(path, mapping(file + 'midnight = "next_day"', signal))
    assert mended.warnings == []


def test_the_wall_clock_of_simbench_is_seen_where_it_is_read_as_utc(real: Callable[[str], Path], take: Take) -> None:
    signal = 'column = "G2-A_pload"\nsignal = "profile_pu"\nunit = "pu"'
    path, file = real("simbench_mv_semiurb/load_profiles.csv.gz"), 'time = "time"\nsite = "sim"\n'
    as_utc = mapping(file + 'order = "any"\nduplicates = "first"', signal)
    (one,) = take(path, as_utc, local_time_zone="Europe/Berlin")
    doubled, missing, twice = one.warnings
    assert "4 stamps are there twice" in doubled
    assert "2016-03-27 02:00:00 to 2016-03-27 03:00:00 is missing" in missing
    assert "2016-10-30 02:00:00 to 2016-10-30 03:00:00 is there twice" in twice
    (local,) = take(path, mapping(file + 'time_zone = "Europe/Berlin"', signal))
    assert local.warnings == []


def test_an_hour_that_does_not_exist_in_london_is_left_out_and_said(real: Callable[[str], Path], take: Take) -> None:
    signal = 'column = "temperature_2m"\nsignal = "temperature_degc"\nunit = "degC"'
    file = 'time = "timestamp"\nsite = "brighton"\ntime_zone = "Europe/London"\nnonexistent = "skip"'
    (one,) = take(real("ukpn_brighton_weather_30min.csv.gz"), mapping(file, signal), step_s=1800)
    (warning,) = one.warnings
    assert warning.startswith("line 4324, 2024-03-31 01:00: 2024-03-31 01:00:00 to 2024-03-31 02:00:00 does not exist")


def test_rows_of_two_transformers_in_one_file_are_doubled_stamps(real: Callable[[str], Path], take: Take) -> None:
    signal = 'column = "active_power_mw"\nsignal = "transformer_kw"\nunit = "MW"'
    file = 'time = "timestamp"\nsite = "brighton"\nduplicates = "mean"\nstep_s = 1800'
    (one,) = take(real("ukpn_brighton_2transformers_30min.csv.gz"), mapping(file, signal), step_s=1800)
    (warning,) = one.warnings
    assert "4407 stamps are there twice; if they are rows of several meters, pick one by where" in warning


def test_both_brighton_transformers_give_more_than_their_current_carries_at_33_kv(
    real: Callable[[str], Path], take: Take
) -> None:
    signals = [
        text + f'\nwhere = {{ tx_id = "brighton_local_33kv_gt{i}" }}'
        for i in (1, 2)
        for text in (
            f'column = "active_power_mw"\nsignal = "gt{i}_kw"\nunit = "MW"',
            f'column = "current_amps"\nsignal = "gt{i}_a"\nunit = "A"\nnominal_kv = 33',
        )
    ]
    done = take(
        real("ukpn_brighton_2transformers_30min.csv.gz"),
        mapping('time = "timestamp"\nsite = "brighton"', *signals),
        step_s=1800,
    )
    warned = {one.signal: one.warnings for one in done}
    assert [len(texts) for texts in warned.values()] == [1, 0, 1, 0]
    assert all("above the nominal 33 kV" in text for name in ("gt1_kw", "gt2_kw") for text in warned[name])
