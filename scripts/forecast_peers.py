"""Forecasts of one series by a published kind of model, for `cargo xtask bench forecast`.

    forecast_peers.py MODEL FILE.csv --time COL --target COL --from T --to T --every MINUTES --step MINUTES --horizon STEPS

Answers with CSV `issued_at,valid_at,mean` on stdout; the last line on stderr is `seconds WALL PROCESSOR`, the time of
fitting and forecasting alone, without starting Python, importing packages, reading the file or a first call that
compiles. As in `sos forecast`, an issue time names the last row that may be seen. One thread; nothing was tuned on the
days judged: the settings of LightGBM are the best of four on earlier days.
"""

import argparse
import os
import sys
import time

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[pool] = "1"

import numpy as np
import pandas as pd

WEEKS_OF_HISTORY = 8  # at most, for AutoETS and MSTL at each issue


def read(options):
    """All columns of numbers on a complete grid of steps; what is missing is NaN."""
    table = pd.read_csv(options.file)
    table.index = pd.to_datetime(table.pop(options.time), utc=True)
    return table.select_dtypes("number").astype(float).asfreq(pd.Timedelta(minutes=options.step))


def without_gaps(values, day):
    """These models take no gaps: each is filled with the last day's value at that time."""
    series = pd.Series(values)
    for _ in range(7):
        series = series.fillna(series.shift(day))
    return series.ffill().bfill().to_numpy()


class Statistical:
    """A model of statsforecast, fitted anew at each issue on the last weeks."""

    def __init__(self, make, options):
        self.make, self.options = make, options
        self.day = 24 * 60 // options.step
        warm_up = np.sin(np.arange(15 * self.day) * 2 * np.pi / self.day) + 2
        make(self.day).forecast(y=warm_up, h=1)

    def forecast(self, table, issued):
        seen = table[self.options.target].loc[:issued].to_numpy()[-WEEKS_OF_HISTORY * 7 * self.day :]
        return self.make(self.day).forecast(y=without_gaps(seen, self.day), h=self.options.horizon)["mean"]


def auto_ets(day):
    from statsforecast.models import AutoETS

    return AutoETS(season_length=day)


def mstl(day):
    from statsforecast.models import MSTL

    return MSTL(season_length=[day, 7 * day])


class LightGbm:
    """Boosted trees over lags, calendar and rolling means; one model for all leads, fitted anew each week."""

    ROUNDS = 400
    PARAMETERS = {
        "objective": "l1",
        "learning_rate": 0.03,
        "num_leaves": 31,
        "min_data_in_leaf": 40,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "num_threads": 1,
        "seed": 1,
        "verbose": -1,
    }

    def __init__(self, options):
        import lightgbm

        self.lightgbm, self.options = lightgbm, options
        self.day = 24 * 60 // options.step
        self.model, self.fitted = None, None

    def features(self, table, issues):
        """One row for each issue (a position in the table) and lead; nothing later than the issue is read."""
        day, horizon = self.day, self.options.horizon
        issue = np.repeat(issues, horizon)
        lead = np.tile(np.arange(1, horizon + 1), len(issues))
        target = issue + lead

        def at(values, position):
            inside = (position >= 0) & (position < len(values))
            return np.where(inside, values[np.clip(position, 0, len(values) - 1)], np.nan)

        series = table[self.options.target]
        values = series.to_numpy()
        local = table.index[0] + pd.to_timedelta(target * self.options.step, unit="min")
        local = local.tz_convert(self.options.zone)
        columns = {
            "lead": lead,
            "time_of_day": local.hour * 60 + local.minute,
            "weekday": local.weekday,
            "weekend": local.weekday >= 5,
            "day_of_year": local.dayofyear,
        }
        for days in (1, 2, 3, 4, 5, 6, 7, 14, 21, 28):
            columns[f"lag_{days}d"] = at(values, target - days * day)
        for steps in (1, 2, 3, 6):
            columns[f"last_{steps}"] = at(values, issue - steps + 1)
        for hours in (3, 6, 24, 72, 168, 672):
            mean = series.rolling(hours * day // 24, min_periods=1).mean().to_numpy()
            columns[f"mean_{hours}h"] = at(mean, issue)
        columns["deviation_24h"] = at(series.rolling(day, min_periods=2).std().to_numpy(), issue)
        for days in (3, 7, 28):
            same_time = np.stack([at(values, target - back * day) for back in range(1, days + 1)])
            columns[f"same_time_{days}d"] = pd.DataFrame(same_time).mean().to_numpy()
        for name in table.columns.drop(self.options.target):
            other = table[name]
            columns[f"{name}_last"] = at(other.to_numpy(), issue)
            columns[f"{name}_lag_1d"] = at(other.to_numpy(), target - day)
            columns[f"{name}_mean_24h"] = at(other.rolling(day, min_periods=1).mean().to_numpy(), issue)
        return np.column_stack(list(columns.values())).astype(float), target

    def fit(self, table, now):
        """Learns from the issues at this local time of day whose outcome is known."""
        local = table.index.tz_convert(self.options.zone)
        alike = (local.hour == local[now].hour) & (local.minute == local[now].minute)
        positions = np.arange(len(table))
        issues = positions[alike & (positions >= 7 * self.day) & (positions + self.options.horizon <= now)]
        rows, target = self.features(table, issues)
        outcome = table[self.options.target].to_numpy()[target]
        known = np.isfinite(outcome)
        data = self.lightgbm.Dataset(rows[known], outcome[known])
        self.model = self.lightgbm.train(self.PARAMETERS, data, num_boost_round=self.ROUNDS)
        self.fitted = now

    def forecast(self, table, issued):
        seen = table.loc[:issued]
        now = len(seen) - 1
        if self.fitted is None or now - self.fitted >= 7 * self.day:
            self.fit(seen, now)
        rows, _ = self.features(seen, np.array([now]))
        return self.model.predict(rows, num_threads=1)


MODELS = {
    "AutoETS": lambda options: Statistical(auto_ets, options),
    "MSTL": lambda options: Statistical(mstl, options),
    "LightGBM": LightGbm,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("file")
    parser.add_argument("--time", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--zone", default="UTC", help="zone of the calendar")
    parser.add_argument("--from", dest="first", required=True, type=pd.Timestamp)
    parser.add_argument("--to", dest="last", required=True, type=pd.Timestamp)
    for name in ("--every", "--step", "--horizon"):
        parser.add_argument(name, required=True, type=int)
    options = parser.parse_args()

    table = read(options)
    model = MODELS[options.model](options)
    steps = pd.Timedelta(minutes=options.step) * np.arange(1, options.horizon + 1)
    rows, wall, processor = [], 0.0, 0.0
    for issued in pd.date_range(options.first, options.last, freq=pd.Timedelta(minutes=options.every)):
        start = time.perf_counter(), time.process_time()
        mean = model.forecast(table, issued)
        wall += time.perf_counter() - start[0]
        processor += time.process_time() - start[1]
        rows.append(pd.DataFrame({"issued_at": issued, "valid_at": issued + steps, "mean": mean}))
    pd.concat(rows).to_csv(sys.stdout, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    print(f"seconds {wall:.3f} {processor:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
