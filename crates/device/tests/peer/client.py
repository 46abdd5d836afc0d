"""Reads a home with pysunspec2 and prints every implemented point as JSON: {unit: {model: {point: value}}}.

With --set W LEASE it first commands the battery (unit 2) point by point, as a person at a console would.
"""
import argparse
import json

from sunspec2.modbus import client

arguments = argparse.ArgumentParser()
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--set", nargs=2, type=int)
arguments = arguments.parse_args()

result = {}
for unit in (1, 2, 3):
    device = client.SunSpecModbusClientDeviceTCP(slave_id=unit, ipaddr="127.0.0.1", ipport=arguments.port, timeout=5)
    device.scan()
    if unit == 2 and arguments.set:
        control = device.models[704][0]
        for name, value in (("WSetMod", 1), ("WSet", arguments.set[0]), ("WSetRvrtTms", arguments.set[1]), ("WSetEna", 1)):
            control.points[name].cvalue = value
            control.points[name].write()
    models = {}
    for number, found in device.models.items():
        if not isinstance(number, int):
            continue
        model = found[0]
        model.read()
        assert not model.error_info, model.error_info
        models[number] = {name: p.cvalue for name, p in model.points.items() if p.cvalue is not None}
    result[unit] = models
    device.close()
print(json.dumps(result))
