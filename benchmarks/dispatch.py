"""Quality and speed of the dispatch: problems with known optima, and growth with their size. Prints one JSON object.

Each problem becomes a Site and a Snapshot and goes through the agent's own `plan`; its powers are then simulated by the
problem's rules. `cold_ms` is the first plan of a fresh planner, building included; `warm_ms` that of a planner at work, with
load and PV perturbed by up to 10 %. One thread.

    python -m benchmarks.dispatch --problems DIR [--plans DIR] [--emhass PYTHON]
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.answers import answers
from benchmarks.emhass_problems import Problem, as_site, as_snapshot, read_problem, schedule, score
from ringmain_agent.commands.binding_limits import binding
from ringmain_agent.errors import ForecastError
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator, Transformer
from ringmain_agent.site.site import LOAD, Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import ForecastResult, Plan, Snapshot

COLD_CALLS: Final = 5
WARM_CALLS: Final = 30
SETTLING_CALLS: Final = 3
PERTURBATION: Final = 0.1
EMHASS_SCRIPT: Final = Path(__file__).with_name("emhass_timing.py")
EMHASS_TIMEOUT_S: Final = 600


class GivenForecasts:
    """A forecaster for snapshots that bring their forecasts."""

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """There is no other.

        Raises:
            ForecastError: Always.
        """
        raise ForecastError(f"no forecast of {signal} in the snapshot of {snapshot.issued_at_ms} ms")

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """There is no other.

        Raises:
            ForecastError: Always.
        """
        raise ForecastError(f"no forecast of {signal} in the snapshot of {snapshot.issued_at_ms} ms: {reason}")


def main() -> None:
    """Solve, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, required=True, metavar="DIR", help="folder of problem files")
    parser.add_argument("--plans", type=Path, metavar="DIR", help="where to write the schedule of each problem")
    parser.add_argument("--emhass", type=Path, metavar="PYTHON", help="a Python with EMHASS, to be timed beside")
    options = parser.parse_args()
    paths = sorted(options.problems.glob("*.json"))
    with answers() as stream:
        result = {
            "problems": [measured(path.stem, read_problem(path), options.plans) for path in paths],
            "scaling": [scaled(*case) for case in SCALING],
            "emhass": emhass(options.emhass, paths),
        }
        print(json.dumps(result, indent=1), file=stream)


def solved(problem: Problem) -> Plan:
    """The agent's plan for a problem."""
    site = as_site(problem)
    return plan(as_snapshot(problem), site, GivenForecasts(), Dispatcher(site))


def measured(name: str, problem: Problem, plans: Path | None) -> dict[str, object]:
    """Cost, violations and times of one problem; its schedule goes into the folder `plans`."""
    site, snapshot = as_site(problem), as_snapshot(problem)
    cold_ms = []
    for _ in range(COLD_CALLS):
        begin = time.perf_counter()
        dispatcher = Dispatcher(site)
        found = plan(snapshot, site, GivenForecasts(), dispatcher)
        cold_ms.append(1000 * (time.perf_counter() - begin))
    warm_ms = [spent_ms for spent_ms, _, _ in _timed(site, dispatcher, _perturbed(problem))]
    if plans is not None:
        plans.mkdir(parents=True, exist_ok=True)
        (plans / f"{name}.json").write_text(json.dumps(schedule(problem, found)) + "\n", encoding="utf-8")
    scored, optimum = score(problem, found), problem.optimum_cost
    return {
        "name": name,
        "optimum": optimum,
        "cost": scored.cost,
        "relative_difference": None if optimum is None else (scored.cost - optimum) / max(abs(optimum), 1e-9),
        "violations": scored.violations,
        "status": found.fallback.value,
        "cold_ms": round(statistics.median(cold_ms), 3),
        "warm_ms": round(statistics.median(warm_ms), 3),
    }


def _perturbed(problem: Problem) -> Iterator[Snapshot]:
    rng = np.random.default_rng(0)
    for _ in range(WARM_CALLS):
        load, pv = (1 + PERTURBATION * rng.uniform(-1, 1, (2, problem.n))).tolist()
        yield as_snapshot(
            problem,
            load_kw=[value * factor for value, factor in zip(problem.load_kw, load, strict=True)],
            pv_kw=[value * factor for value, factor in zip(problem.pv_kw, pv, strict=True)],
        )


def _timed(site: Site, dispatcher: Dispatcher, snapshots: Iterable[Snapshot]) -> Iterator[tuple[float, Plan, Snapshot]]:
    for snapshot in list(snapshots):
        begin = time.perf_counter()
        found = plan(snapshot, site, GivenForecasts(), dispatcher)
        yield 1000 * (time.perf_counter() - begin), found, snapshot


SCALING: Final = (
    ("96 steps of 15 min", 96, 900, False),
    ("96 steps of 15 min with the transformer's temperatures", 96, 900, True),
    ("288 steps of 5 min", 288, 300, False),
)


def scaled(name: str, steps: int, step_s: int, transformer: bool) -> dict[str, object]:  # noqa: FBT001  a table's column
    """Time of a warm plan of a station with battery, PV and spot prices whose horizon moves on with each call.

    The dispatch leaves a transformer's rows out while no limit of it is exceeded: `hot_spot_binds` is the share of the
    calls in which it was held at its limit.
    """
    site = Site(
        site="station",
        step_s=step_s,
        horizon_steps=steps,
        grid_connection=GridConnection(import_limit_kw=5000, export_limit_kw=4000, margin_kw=50),
        batteries=(Battery(name="battery", capacity_kwh=8000, charge_max_kw=2000, discharge_max_kw=2000),),
        generators=(Generator(name="pv", rated_power_kw=3000),),
        transformers=(Transformer(name="t1", rated_power_kva=4200, hot_spot_max_degc=90),) if transformer else (),
        tariff=Tariff(price_series="price_eur_per_mwh", demand_charge_per_kw=2.0),
    )
    dispatcher = Dispatcher(site)
    calls = list(_timed(site, dispatcher, _moving(site)))[SETTLING_CALLS:]
    held = [any(item.limit.startswith("hot spot") for item in binding(found, of, site)) for _, found, of in calls]
    return {
        "name": name,
        "steps": steps,
        "step_s": step_s,
        "hot_spot_binds": sum(held) / len(held),
        "warm_ms": round(statistics.median(spent_ms for spent_ms, _, _ in calls), 3),
    }


def _moving(site: Site) -> Iterator[Snapshot]:
    rng, steps = np.random.default_rng(0), site.horizon_steps
    hour = np.arange(steps + WARM_CALLS) * site.step_s / 3600
    load_kw = 4000 + 1000 * np.sin((hour - 12) / 12 * np.pi)
    pv_kw = -2000 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0)
    price = 40 + 20 * np.sin((hour - 12) / 12 * np.pi) + rng.normal(0, 5, len(hour))
    for call in range(WARM_CALLS):
        ahead = slice(call, call + steps)
        load, pv = 1 + PERTURBATION * rng.uniform(-1, 1, (2, steps))
        forecasts = [
            ForecastResult(signal=signal, quantiles=[0.5], values=values.reshape(-1, 1).tolist(), release=1)
            for signal, values in ((LOAD, load_kw[ahead] * load), ("pv_kw", pv_kw[ahead] * pv))
        ]
        yield Snapshot(
            issued_at_ms=1000 * site.step_s * call,
            step_s=site.step_s,
            history={},
            known_future={"price_eur_per_mwh": price[ahead].tolist()},
            import_limit_kw=[site.grid_connection.import_limit_kw] * steps,
            export_limit_kw=[site.grid_connection.export_limit_kw] * steps,
            soc_kwh={"battery": 4000.0},
            billing_peak_kw={"month": 3500.0},
            forecasts=forecasts,
        )


def emhass(python: Path | None, paths: list[Path]) -> object:
    """Times of EMHASS itself on the same problems, or None without it."""
    if python is None:
        return None
    command = [str(python), str(EMHASS_SCRIPT), *(str(path) for path in paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=EMHASS_TIMEOUT_S, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
