"""Plays one home (solar unit 1, battery unit 2, meter unit 3) with pysunspec2's models and pymodbus' server.

Independent of the project's own home: other libraries, other physics (floats), another order of models, another
meter model; with --legacy the older models at another base address. Site time comes over the lock-step clock.
Prints "MODBUS_PORT CLOCK_PORT" once it listens.
"""
import argparse
import asyncio
import csv
import json
from datetime import datetime, timezone

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from sunspec2 import device

CAPACITY_WH, RATED_W, EFFICIENCY, SOLAR_W = 6400, 5000, 0.95, 5000


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Home:
    def __init__(self, rows):
        self.rows = rows
        self.step = rows[1][0] - rows[0][0]
        self.now = rows[0][0]
        self.stored = 0.0
        self.setpoint, self.setpoint_until = 0.0, None
        self.limit, self.limit_until = None, None
        self.load = self.solar = self.battery = None
        self.wh = dict(load=0.0, solar=0.0, given=0.0, taken=0.0)

    def advance(self, now):
        """Lives second by second through what matters: rows and leases."""
        start, sums = self.now, dict(load=0.0, solar=0.0, battery=0.0)
        while self.now < now:
            index = int((self.now - self.rows[0][0]) // self.step)
            _, load, solar = self.rows[min(index, len(self.rows) - 1)]
            ends = [now, self.rows[0][0] + (index + 1) * self.step, self.setpoint_until, self.limit_until]
            end = min(e for e in ends if e is not None and e > self.now)
            hours = (end - self.now) / 3600
            if self.limit is not None:
                solar = min(solar, self.limit)
            power = max(-RATED_W, min(RATED_W, self.setpoint))
            if power < 0:
                power = -min(-power, (CAPACITY_WH - self.stored) / EFFICIENCY / hours)
                self.stored -= power * EFFICIENCY * hours
                self.wh["taken"] -= power * hours
            else:
                power = min(power, self.stored * EFFICIENCY / hours)
                self.stored -= power / EFFICIENCY * hours
                self.wh["given"] += power * hours
            self.wh["load"] += load * hours
            self.wh["solar"] += solar * hours
            for name, value in (("load", load), ("solar", solar), ("battery", power)):
                sums[name] += value * hours
            self.now = end
            if self.setpoint_until is not None and self.setpoint_until <= end:
                self.setpoint, self.setpoint_until = 0.0, None
            if self.limit_until is not None and self.limit_until <= end:
                self.limit, self.limit_until = None, None
        if now > start:
            span = (now - start) / 3600
            self.load, self.solar, self.battery = (sums[n] / span for n in ("load", "solar", "battery"))


def model(number, **points):
    """A model with all points unset but the given ones, in raw register numbers."""
    made = device.Model(number)
    for name, value in points.items():
        made.points[name].set_value(value, computed=False, dirty=False) if value is not None else None
    return made


class Unit:
    """One unit's models; `measure` refreshes the points before each read, `command` looks at them after a write."""

    def __init__(self, number, base, models, measure, command=None):
        common = model(1, Mn="Peer", Md=f"unit {number}", Vr="1", SN=f"peer-{number}", DA=number)
        self.models, self.measure, self.command, self.number, self.base = [common, *models], measure, command, number, base
        self.measure()
        words = self.words()
        self.device = SimDevice(
            number, simdata=[SimData(base, values=words, datatype=DataType.REGISTERS)], action=self.access
        )

    def words(self):
        data = b"SunS" + b"".join(m.get_mb() for m in self.models) + b"\xff\xff\x00\x00"
        return [int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data), 2)]

    async def access(self, function, start, address, count, registers, values):
        if values is None:
            self.measure()
            registers[:] = self.words()
            return None
        words = self.words()
        words[address - self.base : address - self.base + len(values)] = values
        data, at = b"".join(w.to_bytes(2, "big") for w in words), 4
        for m in self.models:
            m.set_mb(data=data[at:], dirty=False)
            at += (m.points["L"].value + 2) * 2
        return None if self.command is None or self.command() else ExcCodes.ILLEGAL_VALUE


def put(m, **points):
    for name, value in points.items():
        m.points[name].set_value(None if value is None else int(round(value)), computed=False, dirty=False)


def get(m, name):
    return m.points[name].value


def modern(home):
    measurement = [model(701, ACType=0, W_SF=0, TotWh_SF=0) for _ in range(2)]
    rating = model(702, WMaxRtg=SOLAR_W, W_SF=0)
    limit = model(704, WMaxLimPctEna=0, WMaxLimPct=1000, WMaxLimPct_SF=-1, WMaxLimPctRvrtTms=0)

    def solar():
        put(measurement[0], W=home.solar, TotWhInj=home.wh["solar"], TotWhAbs=0)
        put(limit, WMaxLimPctEna=home.limit is not None)

    def curtail():
        lease = get(limit, "WMaxLimPctRvrtTms")
        home.limit = get(limit, "WMaxLimPct") / 1000 * SOLAR_W if get(limit, "WMaxLimPctEna") else None
        home.limit_until = home.now + lease if lease and home.limit is not None else None
        return True

    storage = model(713, WHRtg=CAPACITY_WH // 10, WH_SF=1, Pct_SF=-1, Sta=0)
    nameplate = model(702, WMaxRtg=RATED_W, WChaRteMaxRtg=RATED_W, WDisChaRteMaxRtg=RATED_W, W_SF=0)
    control = model(704, WSetEna=0, WSetMod=1, WSet=0, WSetRvrt=0, WSetEnaRvrt=0, WSetRvrtTms=0, WSet_SF=0)

    def battery():
        put(measurement[1], W=home.battery, TotWhInj=home.wh["given"], TotWhAbs=home.wh["taken"])
        put(storage, SoC=home.stored / CAPACITY_WH * 1000, WHAvail=home.stored / 10)
        put(control, WSetEna=home.setpoint_until is not None)

    def setpoint():
        watts, lease = get(control, "WSet"), get(control, "WSetRvrtTms")
        if abs(watts) > RATED_W or get(control, "WSetMod") != 1:
            return False
        enabled = get(control, "WSetEna") == 1
        home.setpoint, home.setpoint_until = (watts, home.now + lease) if enabled else (0.0, None)
        return True

    counter = model(213)

    def meter():
        for name, value in (("W", home.load), ("TotWhImp", home.wh["load"]), ("TotWhExp", 0.0)):
            counter.points[name].set_value(float("nan") if value is None else float(value), dirty=False)

    return 40000, [
        ([measurement[0], rating, limit], solar, curtail),
        ([measurement[1], nameplate, control, storage], battery, setpoint),
        ([counter], meter, None),
    ]


def legacy(home):
    inverter = [model(103, W_SF=1, WH_SF=0) for _ in range(2)]
    rating = model(120, DERTyp=4, WRtg=SOLAR_W // 10, WRtg_SF=1)
    limit = model(123, WMaxLimPct=100, WMaxLimPct_SF=0, WMaxLim_Ena=0, WMaxLimPct_RvrtTms=0, WMaxLimPct_RmpTms=0)

    def solar():
        put(inverter[0], W=None if home.solar is None else home.solar / 10, WH=home.wh["solar"])
        put(limit, WMaxLim_Ena=home.limit is not None)

    def curtail():
        lease = get(limit, "WMaxLimPct_RvrtTms")
        home.limit = get(limit, "WMaxLimPct") / 100 * SOLAR_W if get(limit, "WMaxLim_Ena") else None
        home.limit_until = home.now + lease if lease and home.limit is not None else None
        return True

    control = model(124, WChaMax=RATED_W // 10, WChaMax_SF=1, StorCtl_Mod=0, OutWRte=0, InWRte=0, InOutWRte_SF=-2,
                    InOutWRte_RvrtTms=0, InOutWRte_WinTms=0, WChaGra=0, WDisChaGra=0, WChaDisChaGra_SF=0)
    base = model(802, WHRtg=CAPACITY_WH // 100, WHRtg_SF=2, SoC_SF=-1, WChaRteMax=50, WDisChaRteMax=50,
                 WChaDisChaMax_SF=2)

    def battery():
        put(inverter[1], W=None if home.battery is None else home.battery / 10, WH=home.wh["given"])
        put(base, SoC=home.stored / CAPACITY_WH * 1000)
        put(control, StorCtl_Mod=3 if home.setpoint_until is not None else 0)

    def setpoint():
        lease = get(control, "InOutWRte_RvrtTms")
        if get(control, "StorCtl_Mod") != 3:
            home.setpoint, home.setpoint_until = 0.0, None
            return True
        out, into = get(control, "OutWRte") / 10000 * RATED_W, get(control, "InWRte") / 10000 * RATED_W
        home.setpoint, home.setpoint_until = (-into if into > 0 else out), home.now + lease
        return True

    counter = model(201, W_SF=1, TotWh_SF=0)

    def meter():
        put(counter, W=None if home.load is None else home.load / 10, TotWhImp=home.wh["load"], TotWhExp=0)

    return 50000, [
        ([inverter[0], rating, limit], solar, curtail),
        ([inverter[1], control, base], battery, setpoint),
        ([counter], meter, None),
    ]


async def clock(home, reader, writer):
    async for line in reader:
        home.advance(seconds(json.loads(line)["now"]))
        now = datetime.fromtimestamp(home.now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        writer.write(json.dumps({"now": now}).encode() + b"\n")
        await writer.drain()
    writer.close()


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--clock-port", type=int, default=0)
    arguments.add_argument("--legacy", action="store_true")
    arguments = arguments.parse_args()
    with open(arguments.data, newline="") as file:
        rows = [
            (seconds(row["time"]), float(row["load_kw"]) * 1000, float(row["solar_kw"]) * 1000)
            for row in csv.DictReader(file)
        ]
    home = Home(rows)
    base, parts = legacy(home) if arguments.legacy else modern(home)
    units = [Unit(number, base, *part) for number, part in enumerate(parts, 1)]
    clock_server = await asyncio.start_server(lambda r, w: clock(home, r, w), "127.0.0.1", arguments.clock_port)
    server = ModbusTcpServer([unit.device for unit in units], address=("127.0.0.1", arguments.port))
    await server.serve_forever(background=True)
    modbus_port = server.transport.sockets[0].getsockname()[1]
    print(modbus_port, clock_server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
