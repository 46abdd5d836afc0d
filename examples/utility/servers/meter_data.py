"""The meter-data service: SOAP 1.1, on spyne. Readings come from the measured homes of examples/fontana.

While it runs it also does what meters do: every few seconds each of them publishes its next reading over MQTT, as plain
JSON, for devices know nothing of CloudEvents.
"""

import argparse
import csv
import json
import logging
import threading
from datetime import datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import paho.mqtt.client as mqtt
from spyne import Application, Array, ComplexModel, DateTime, Decimal, Fault, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

NAMESPACE = "urn:example:meter-data:v1"
Quality = Unicode(values=["measured", "estimated"], type_name="Quality")


class Reading(ComplexModel):
    __namespace__ = NAMESPACE
    time = DateTime(min_occurs=1, nullable=False)
    kwh = Decimal(min_occurs=1, nullable=False)
    quality = Quality(min_occurs=1, nullable=False)


class Meter(ComplexModel):
    __namespace__ = NAMESPACE
    id = Unicode(min_occurs=1, nullable=False)
    place = Unicode(min_occurs=1, nullable=False)
    first = DateTime(min_occurs=1, nullable=False)
    last = DateTime(min_occurs=1, nullable=False)


class UnknownMeter(Fault):
    def __init__(self, meter):
        super().__init__("Client.UnknownMeter", f"there is no meter {meter}")


def load(folder):
    """Readings by meter: time and kWh of each hour."""
    meters = {}
    for path in sorted(Path(folder).glob("home-*.csv")):
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            meters[path.stem] = [(datetime.fromisoformat(r["time"]), r["load_kw"]) for r in rows]
    return meters


class MeterData(ServiceBase):
    meters = {}

    @rpc(_returns=Array(Meter))
    def GetMeters(ctx):
        """All meters, with their first and last reading."""
        return [
            Meter(id=name, place="Fontana, California", first=rows[0][0], last=rows[-1][0])
            for name, rows in MeterData.meters.items()
        ]

    @rpc(Unicode(min_occurs=1, nullable=False), DateTime(min_occurs=1, nullable=False), DateTime(min_occurs=1, nullable=False), _returns=Array(Reading))
    def GetReadings(ctx, meter, start, end):
        """The readings of a meter with start <= time < end, at most 1,000."""
        rows = MeterData.meters.get(meter)
        if rows is None:
            raise UnknownMeter(meter)
        if end <= start:
            raise Fault("Client.Period", "end must be after start")
        wanted = [row for row in rows if start <= row[0] < end][:1000]
        return [Reading(time=time, kwh=kwh or "0", quality="measured" if kwh else "estimated") for time, kwh in wanted]


def publish(meters, host, port, every, stop):
    """Each meter publishes its readings, one after the other, for as long as the service runs."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="meters", protocol=mqtt.MQTTv5)
    client.connect_async(host, port)
    client.loop_start()
    number = 0
    while not stop.wait(every):
        for name, rows in meters.items():
            time, kwh = rows[number % len(rows)]
            reading = {"meter": name, "time": time.isoformat(), "kwh": float(kwh or 0)}
            client.publish(f"meters/{name}/readings", json.dumps(reading), qos=1)
        number += 1
    client.loop_stop()


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--mqtt", help="HOST:PORT of the broker")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two readings of a meter")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    MeterData.meters = load(args.data)
    application = Application([MeterData], NAMESPACE, name="MeterData", in_protocol=Soap11(validator="lxml"),
                              out_protocol=Soap11())
    stop = threading.Event()
    if args.mqtt:
        host, port = args.mqtt.rsplit(":", 1)
        work = (MeterData.meters, host, int(port), args.every, stop)
        threading.Thread(target=publish, args=work, daemon=True).start()
    server = make_server("127.0.0.1", args.port, WsgiApplication(application), Threaded, Quiet)
    print(f"meter data of {len(MeterData.meters)} meters at http://127.0.0.1:{args.port}/?wsdl", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
