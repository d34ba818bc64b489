"""EMHASS on problem files, for a Python that has it: `PYTHON emhass_timing.py FILE...` prints a JSON list.

Costs of energy alone, without a demand charge, and times; by EMHASS' own default gap of 1 %.

Runs in an environment of its own and imports nothing of this project. The first call builds, `warm_ms` is the median of
calls with load and PV perturbed by up to 10 %, on one thread, as for the dispatch that it is measured beside.
"""

import asyncio
import json
import logging
import pathlib
import statistics
import sys
import time

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from emhass import utils  # type: ignore[import-not-found]
from emhass.optimization import Optimization  # type: ignore[import-not-found]

WARM_CALLS = 10
PERTURBATION = 0.1
PRICES = ("unit_load_cost", "unit_prod_price")


def main() -> None:
    """Solve each file and print."""
    print(json.dumps([measured(pathlib.Path(name)) for name in sys.argv[1:]]))


def measured(path: pathlib.Path) -> dict[str, object]:
    """Energy cost and times of one problem; with an error text instead where EMHASS fails."""
    problem = json.loads(path.read_text(encoding="utf-8"))
    try:
        begin = time.perf_counter()
        optimization = _optimization(problem)
        cost = _solve(optimization, problem, 1.0, 1.0)
        cold_ms = 1000 * (time.perf_counter() - begin)
        rng, times_ms = np.random.default_rng(0), []
        for _ in range(WARM_CALLS):
            load, pv = 1 + PERTURBATION * rng.uniform(-1, 1, (2, problem["n"]))
            begin = time.perf_counter()
            _solve(optimization, problem, load, pv)
            times_ms.append(1000 * (time.perf_counter() - begin))
    except Exception as error:  # noqa: BLE001  a foreign program may fail in any way; the others are measured
        return {"name": path.stem, "error": f"{type(error).__name__}: {error}"}
    warm_ms = round(statistics.median(times_ms), 3)
    return {"name": path.stem, "energy_cost": cost, "cold_ms": round(cold_ms, 3), "warm_ms": warm_ms}


def _optimization(problem: dict) -> Optimization:  # type: ignore[type-arg]
    retrieve, optim, plant, paths = asyncio.run(_configuration())
    battery, loads = problem["battery"], problem["deferrable"]
    optim |= {
        "set_use_battery": True,
        "set_use_pv": True,
        "set_nodischarge_to_grid": problem["no_battery_export"],
        "set_nocharge_from_grid": problem["no_grid_charge"],
        "capacity_cost_per_kw": problem["peak_cost_per_kw"],
        "number_of_deferrable_loads": len(loads),
        "nominal_power_of_deferrable_loads": [load["power_w"] for load in loads],
        "operating_hours_of_each_deferrable_load": [load["hours"] for load in loads],
        "treat_deferrable_load_as_semi_cont": [load["on_off"] for load in loads],
        "set_deferrable_load_single_constant": [False for _ in loads],
        "set_deferrable_startup_penalty": [0.0 for _ in loads],
        "set_deferrable_max_startups": [0 for _ in loads],
        "start_timesteps_of_each_deferrable_load": [0 for _ in loads],
        "end_timesteps_of_each_deferrable_load": [0 for _ in loads],
        "delta_forecast_daily": pd.Timedelta(days=1),
        "num_threads": 1,
        "lp_solver": "HIGHS",
    }
    plant |= {
        "maximum_power_from_grid": problem["grid_import_max_w"],
        "maximum_power_to_grid": problem["grid_export_max_w"],
        "inverter_is_hybrid": False,
        "compute_curtailment": problem["curtailment"],
        "battery_discharge_power_max": battery["discharge_max_w"],
        "battery_charge_power_max": battery["charge_max_w"],
        "battery_discharge_efficiency": battery["eta_d"],
        "battery_charge_efficiency": battery["eta_c"],
        "battery_nominal_energy_capacity": battery["capacity_wh"],
        "battery_minimum_state_of_charge": battery["soc_min"],
        "battery_maximum_state_of_charge": battery["soc_max"],
        "battery_target_state_of_charge": battery["soc_final"],
    }
    retrieve |= {"optimization_time_step": pd.Timedelta(hours=problem["dt_h"]), "time_zone": "UTC"}
    logger = logging.getLogger("emhass")
    logger.setLevel(logging.ERROR)
    return Optimization(retrieve, optim, plant, *PRICES, "profit", paths, logger, num_timesteps=problem["n"])


async def _configuration() -> tuple:  # type: ignore[type-arg]
    root = pathlib.Path(utils.__file__).parent
    paths = {
        "data_path": root / "data",
        "root_path": root,
        "associations_path": root / "data" / "associations.csv",
        "defaults_path": root / "data" / "config_defaults.json",
    }
    logger = logging.getLogger("emhass")
    config = await utils.build_config(paths, logger, paths["defaults_path"])
    _, secrets = await utils.build_secrets(paths, logger, no_response=True)
    params = await utils.build_params(paths, secrets, config, logger)
    retrieve, optim, plant = utils.get_yaml_parse(params, logger)
    return retrieve, optim, plant, paths


def _solve(optimization: Optimization, problem: dict, load: object, pv: object) -> float:  # type: ignore[type-arg]
    step = pd.Timedelta(hours=problem["dt_h"])
    index = pd.date_range("2026-06-01", periods=problem["n"], freq=step, tz="UTC")
    prices = pd.DataFrame(dict(zip(PRICES, (problem["buy_per_kwh"], problem["sell_per_kwh"]), strict=True)), index=index)
    load_w = pd.Series(np.array(problem["load_w"]) * load, index=index)
    pv_w = pd.Series(np.array(problem["pv_w"]) * pv, index=index)
    battery = problem["battery"]
    found = optimization.perform_optimization(
        prices,
        pv_w.to_numpy(),
        load_w.to_numpy(),
        prices[PRICES[0]].to_numpy(),
        prices[PRICES[1]].to_numpy(),
        soc_init=battery["soc_init"],
        soc_final=battery["soc_final"],
    )
    return -float(found["cost_fun_profit"].sum())


if __name__ == "__main__":
    main()
