"""Plans days of a home with EMHASS, for `cargo xtask bench emhass`.

    python emhass_peer.py CASE.json ANSWER.json

Each day is planned by an `Optimization` of its own through `perform_perfect_forecast_optim`, once for each of the `gaps` of
the case (null: the one that EMHASS ships). Of several `calls` on the same object the later ones have its problem compiled; `fresh`
objects are made one after the other, and the least time of each call counts.
"""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

import emhass
import pandas as pd
from emhass.optimization import Optimization
from emhass.utils import build_config, build_params, get_yaml_parse

COST, PRICE = "unit_load_cost", "unit_prod_price"


def configuration(case, gap, logger):
    """EMHASS's own defaults with the home of the case."""
    data = Path(emhass.__file__).parent / "data"
    paths = {
        "data_path": data,
        "root_path": data.parent,
        "defaults_path": data / "config_defaults.json",
        "associations_path": data / "associations.csv",
    }
    config = asyncio.run(build_config(paths, logger, str(paths["defaults_path"])))
    battery = case["battery"]
    config.update(
        {
            "set_use_pv": True,
            "set_use_battery": True,
            "set_nodischarge_to_grid": False,
            "number_of_deferrable_loads": 0,
            "num_threads": case["threads"],
            "maximum_power_from_grid": 1000 * case["limit_kw"],
            "maximum_power_to_grid": 1000 * case["limit_kw"],
            "battery_nominal_energy_capacity": 1000 * battery["capacity_kwh"],
            "battery_charge_power_max": 1000 * battery["kw"],
            "battery_discharge_power_max": 1000 * battery["kw"],
            "battery_charge_efficiency": battery["efficiency"],
            "battery_discharge_efficiency": battery["efficiency"],
            "battery_minimum_state_of_charge": battery["min_soc"],
            "battery_maximum_state_of_charge": battery["max_soc"],
            "battery_target_state_of_charge": battery["at_ends"],
        }
    )
    if gap is not None:
        config["lp_solver_mip_rel_gap"] = gap
    secrets = {"time_zone": case["time_zone"], "Latitude": 45.0, "Longitude": 6.0, "Altitude": 0.0}
    secrets |= {"hass_url": "", "long_lived_token": ""}
    params = asyncio.run(build_params(paths, secrets, config, logger))
    return get_yaml_parse(params, logger), paths


def frame(case, day, sensors):
    """Load, sun and prices of a day, by the names of EMHASS's sensors."""
    index = pd.DatetimeIndex(pd.to_datetime(day["times"], utc=True)).tz_convert(case["time_zone"])
    sun, load = sensors
    columns = {sun: day["sun_w"], load + "_positive": day["load_w"], COST: day["import"], PRICE: day["export"]}
    return pd.DataFrame(columns, index=index.as_unit("ns"))


def timed(case, day, gap, logger):
    """What a fresh object of EMHASS plans, how it says that it ended, and the seconds of each call."""
    (hass, optim, plant), paths = configuration(case, gap, logger)
    optimization = Optimization(hass, optim, plant, COST, PRICE, "profit", paths, logger)
    table = frame(case, day, (hass["sensor_power_photovoltaics"], hass["sensor_power_load_no_var_loads"]))
    # The last of the days is the running one and is left out.
    days = pd.date_range(table.index[0], periods=2, freq="D")
    seconds = []
    for _ in range(case["calls"]):
        began = time.perf_counter()
        found = optimization.perform_perfect_forecast_optim(table, days)
        seconds.append(time.perf_counter() - began)
    return found, str(optimization.optim_status), seconds


def plan(case, day, gap, logger):
    """The battery's power by EMHASS, and the least seconds of each call."""
    runs = [timed(case, day, gap, logger) for _ in range(case["fresh"])]
    found, status, _ = runs[0]
    seconds = [min(calls) for calls in zip(*(seconds for _, _, seconds in runs))]
    return {"status": status, "seconds": seconds, "battery_w": [float(watts) for watts in found["P_batt"]]}


def main():
    case = json.loads(Path(sys.argv[1]).read_text())
    logger = logging.getLogger("emhass")
    logger.setLevel(logging.ERROR)
    answer = [[plan(case, day, gap, logger) for gap in case["gaps"]] for day in case["days"]]
    # Not to stdout: solvers greet there.
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
