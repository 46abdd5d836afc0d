"""Holds the judge of `cargo xtask bench citylearn` against the package it is derived from.

    python citylearn_check.py DATA RUN.json ...

DATA is the folder with schema.json, RUN.json what the benchmark kept in target/bench/citylearn. Needs the packages of
scripts/citylearn-peers.txt. Each run is played again in the package; ratios and states of charge must be the same to 1e-6.
"""

import json
import sys
from pathlib import Path

import numpy as np
from citylearn.citylearn import CityLearnEnv

TOLERANCE = 1e-6


def replay(data, run):
    """Ratios and states of charge, by home and hour, of the actions in a run."""
    schema = json.loads((data / "schema.json").read_text())
    schema["root_directory"] = str(data)
    schema["simulation_end_time_step"] = len(run["told"][0])
    env = CityLearnEnv(schema)
    for actions in zip(*run["told"]):
        env.step([[action] for action in actions])
    batteries = [building.electrical_storage for building in env.buildings]
    # The capacity of an hour's end is the one after its wear.
    soc = [np.array(battery.soc) / np.array(battery.capacity_history[: len(battery.soc)]) for battery in batteries]
    return env.evaluate(), soc


def main():
    data, runs = Path(sys.argv[1]), sys.argv[2:]
    worst = 0.0
    for path in runs:
        run = json.loads(Path(path).read_text())
        (cost, emissions, grid), soc = replay(data, run)
        ours = run["ratios"]
        differences = {
            "cost": cost - ours["cost"],
            "emissions": emissions - ours["emissions"],
            "grid": grid - (ours["ramping"] + ours["unevenness"]) / 2,
            "score": (cost + emissions + grid) / 3 - ours["score"],
            "state of charge": max(np.abs(a - np.array(b)).max() for a, b in zip(soc, run["soc"])),
        }
        print(f"{path}: score {(cost + emissions + grid) / 3:.6f} by the package")
        for name, difference in differences.items():
            print(f"  {name:<16} differs by {abs(difference):.1e}")
            worst = max(worst, abs(difference))
    print(f"largest difference {worst:.1e} (at most {TOLERANCE:.0e})")
    sys.exit(0 if runs and worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
