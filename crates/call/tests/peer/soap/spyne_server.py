"""Services of spyne: a meter in SOAP 1.1 and 1.2, its input validated by lxml against the schema.

Prints its port. `/11` and `/12` are the services, `?wsdl` behind them their documents. Ends when its standard input does.
"""

import logging
import sys
import threading
from datetime import datetime, timezone
from decimal import Decimal
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, ComplexModel, ServiceBase, rpc
from spyne.model.binary import ByteArray
from spyne.model.complex import Array, XmlAttribute, XmlData
from spyne.model.enum import Enum
from spyne.model.fault import Fault
from spyne.model.primitive import AnyXml, Boolean, Date, DateTime, Decimal as XsDecimal, Double, Duration, Integer, Int, Long, Time, Unicode, UnsignedLong, Uuid
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication
from spyne.util.wsgi_wrapper import WsgiMounter

logging.disable(logging.CRITICAL)
NS = "urn:example:meter"

Quality = Enum("measured", "estimated", "missing", type_name="Quality")


class Unit(ComplexModel):
    __namespace__ = NS
    value = XmlData(XsDecimal)
    unit = XmlAttribute(Unicode(min_len=1, max_len=5), use="required")


class Reading(ComplexModel):
    __namespace__ = NS
    id = XmlAttribute(Int)
    time = DateTime(min_occurs=1, nillable=False)
    energy = Unit.customize(min_occurs=1, nillable=False)
    quality = Quality
    note = Unicode(nillable=True, min_occurs=1)
    tags = Unicode(max_occurs="unbounded")
    factors = Array(Double)
    raw = ByteArray
    ordinal = UnsignedLong
    exact = XsDecimal
    good = Boolean
    day = Date
    clock = Time
    span = Duration
    key = Uuid


class Asset(ComplexModel):
    __namespace__ = NS
    name = Unicode(min_occurs=1, nillable=False)


class Battery(Asset):
    __namespace__ = NS
    capacity = XsDecimal(min_occurs=1, nillable=False)


class Panel(Asset):
    __namespace__ = NS
    peak = Double


class Session(ComplexModel):
    __namespace__ = NS
    token = Unicode(min_occurs=1, nillable=False)


class Counted(ComplexModel):
    __namespace__ = NS
    calls = Int


class NoSuchMeter(Fault):
    __namespace__ = NS
    detail = None

    def __init__(self, meter):
        super().__init__("Client.NoSuchMeter", f"there is no meter {meter}", detail={"meter": meter})


class Meters(ServiceBase):
    @rpc(Unicode(min_occurs=1, nillable=False), Int(ge=1, le=100, min_occurs=1), _returns=Array(Reading))
    def readings(ctx, meter, count):
        """Reads a meter."""
        time = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
        unit = Unit(value=Decimal("1.50"), unit="kWh")
        return [Reading(id=number, time=time, energy=unit, quality="measured", tags=[meter]) for number in range(count)]

    @rpc(Reading.customize(min_occurs=1, nillable=False), _returns=Reading)
    def echo(ctx, reading):
        return reading

    @rpc(Reading, _returns=Reading, _body_style="bare")
    def echo_bare(ctx, reading):
        return reading

    @rpc(_returns=Integer)
    def total(ctx):
        return 123456789012345678901234567890

    @rpc(Long, Long, _returns=[Long, Unicode], _out_variable_names=["sum", "words"])
    def add(ctx, a, b):
        return (a or 0) + (b or 0), f"{a} and {b}"

    @rpc(Unicode, _returns=Unicode)
    def refuse(ctx, how):
        if how == "fault":
            raise NoSuchMeter("m1")
        if how == "server":
            raise Fault("Server", "out of order")
        raise ValueError("unforeseen")

    @rpc(Asset.customize(min_occurs=1), _returns=Array(Asset))
    def assets(ctx, asset):
        return [asset, Battery(name="b", capacity=Decimal("13.5")), Panel(name="p", peak=4.25), Asset(name="a")]

    @rpc(Unicode, _returns=Unicode)
    def nothing(ctx, value):
        return None

    @rpc(AnyXml, _returns=AnyXml)
    def any(ctx, xml):
        return xml


class Sessions(ServiceBase):
    __in_header__ = Session
    __out_header__ = Counted

    @rpc(_returns=Unicode)
    def whoami(ctx):
        ctx.out_header = Counted(calls=7)
        return ctx.in_header.token if ctx.in_header is not None else "nobody"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def application(protocol):
    services = [Meters, Sessions]
    app = Application(services, NS, name="Meter", in_protocol=protocol(validator="lxml"), out_protocol=protocol(polymorphic=True))
    return WsgiApplication(app)


server = make_server("127.0.0.1", 0, WsgiMounter({"11": application(Soap11), "12": application(Soap12)}), handler_class=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
