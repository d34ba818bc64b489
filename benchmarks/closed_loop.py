"""The agent in a closed loop on recorded sites: limits kept, money, time. Prints one JSON object.

`python -m benchmarks.closed_loop [--data DIR] [--days N] [--plan-every-steps N] [--site NAME]`; the data are those of
`$RINGMAIN_DATA` by default.
Sites are sized from the first month of their record (see `ringmain_simulation/recorded.py`). Each runs with a forecast that
comes true, with the agent's own seasonal persistence, and with the rule alone; beside them stands the site without control.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from benchmarks.answers import answers
from ringmain_simulation.closed_loop.loop import ClosedLoop, Control
from ringmain_simulation.closed_loop.recorded import DAY_STEPS, RECORDED, RecordedSite
from ringmain_simulation.closed_loop.settlement import Bill, Excesses, bill, excesses


def main() -> None:
    """Run every site, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("RINGMAIN_DATA"), help="folder of the recorded data")
    parser.add_argument("--days", type=int, help="number of days from the beginning of each record")
    parser.add_argument("--plan-every-steps", type=int, default=1, help="4: a plan an hour")
    parser.add_argument("--site", choices=sorted(RECORDED), action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data or RINGMAIN_DATA must name the folder of the recorded data")
    sites = {name: RECORDED[name](options.data) for name in options.site or RECORDED}
    every = options.plan_every_steps
    with answers() as stream:
        found = {name: measure(recorded, days=options.days, every=every) for name, recorded in sites.items()}
        print(json.dumps(found), file=stream)


def measure(recorded: RecordedSite, *, days: int | None, every: int) -> dict[str, object]:
    """All runs of one site."""
    site, record = recorded.site, recorded.record
    if days is not None:
        record = record.first(days * DAY_STEPS)
    battery, connection = site.batteries[0], site.grid_connection
    found: dict[str, object] = {
        "steps": len(record.load_kw),
        "plan_every_steps": every,
        "import_limit_kw": round(connection.import_limit_kw, 3),
        "export_limit_kw": round(connection.export_limit_kw, 3),
        "battery_kwh": round(battery.capacity_kwh, 3),
        "battery_kw": round(battery.charge_max_kw, 3),
        "transformer_kva": [round(transformer.rated_power_kva, 1) for transformer in site.transformers],
        "without": _figures(excesses(record.net_kw, site, record), bill(record.net_kw, site, record)),
    }
    for control in Control:
        start_s = time.perf_counter()
        trace = ClosedLoop(site, record, control, plan_every_steps=every).run()
        took_s = time.perf_counter() - start_s
        available_kwh = -sum(float(values.sum()) for values in record.available_kw.values()) * site.step_h
        used_kwh = -sum(float(values.sum()) for values in trace.pv_kw.values()) * site.step_h
        found[control] = {
            **_figures(excesses(trace.pcc_kw, site, record), bill(trace.pcc_kw, site, record, trace)),
            "curtailed_kwh": round(available_kwh - used_kwh, 1),
            "soc_min_pu": round(float(trace.soc_kwh[battery.name].min()) / battery.capacity_kwh, 4),
            "soc_max_pu": round(float(trace.soc_kwh[battery.name].max()) / battery.capacity_kwh, 4),
            "cycles_by_level": dict(trace.levels),
            "plans": dict(trace.plans),
            "solve_ms_median": round(statistics.median(trace.solve_ms), 2) if trace.solve_ms else None,
            "took_s": round(took_s, 1),
        }
    return found


def _figures(broken: Excesses, money: Bill) -> dict[str, float | None]:
    return {
        "import_violations": broken.import_count,
        "import_worst_kw": round(broken.import_worst_kw, 3),
        "export_violations": broken.export_count,
        "hot_spot_max_degc": None if broken.hot_spot_max_degc is None else round(broken.hot_spot_max_degc, 1),
        "cost": round(money.total, 2),
        "energy_cost": round(money.energy, 2),
        "demand_charge": round(money.demand_charge, 2),
        "wear": round(money.wear, 2),
        "worth_of_energy_gained": round(money.stored, 2),
    }


if __name__ == "__main__":
    main()
