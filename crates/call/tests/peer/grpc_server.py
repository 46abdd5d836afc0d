"""A server of bench.proto by grpcio, with reflection and health. Prints its port, then notes each call's end in --log.

Descriptors are built when it starts, from the .proto beside it. --reflection v1 answers as newer servers do, v1alpha as older
ones. Metadata whose names start with x- come back as headers and, as x-trailer-..., as trailers.
"""

import argparse
import concurrent.futures
import json
import pathlib
import sys
import threading

import grpc
from google.protobuf import any_pb2, duration_pb2, json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_status import rpc_status

sys.path.insert(0, str(pathlib.Path(__file__).parent))
protos, services = grpc.protos_and_services("bench.proto")

arguments = argparse.ArgumentParser()
arguments.add_argument("--log", required=True)
arguments.add_argument("--certificates")
arguments.add_argument("--client-certificates", action="store_true")
arguments.add_argument("--reflection", choices=["v1", "v1alpha", "none"], default="v1")
arguments.add_argument("--gzip", action="store_true")
options = arguments.parse_args()
lock = threading.Lock()


def note(**what):
    with lock, open(options.log, "a", encoding="utf-8") as log:
        print(json.dumps(what), file=log, flush=True)


def metadata(context):
    """Sends back what came."""
    given = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-")]
    context.send_initial_metadata(given)
    context.set_trailing_metadata([("x-trailer-" + name[2:], value) for name, value in given])


def details():
    packed = []
    for message in [
        error_details_pb2.ErrorInfo(reason="NO_POWER", domain="example.org", metadata={"home": "1"}),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000)),
        error_details_pb2.BadRequest(
            field_violations=[error_details_pb2.BadRequest.FieldViolation(field="power", description="too much")]
        ),
        protos.Told(text="of our own"),
    ]:
        packed.append(any_pb2.Any())
        packed[-1].Pack(message)
    packed.append(any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"\x08\x01"))
    return packed


def watch(ask, context):
    """Notes the end of a call that will hang. Before its answer: whoever gives it up may not wait for more."""
    over = threading.Event()

    def end():
        note(over=ask.text)
        over.set()

    if ask.hang and not context.add_callback(end):
        end()
    return over


def finish(ask, context, over):
    if ask.hang:
        over.wait()
        return
    if ask.fail:
        code = grpc.StatusCode[ask.fail]
        if ask.details:
            status = status_pb2.Status(code=code_pb2.Code.Value(ask.fail), message=ask.text, details=details())
            context.abort_with_status(rpc_status.to_status(status))
        context.abort(code, ask.text)


def told(ask, context, **more):
    left = context.time_remaining()
    return protos.Told(
        text=ask.text,
        left_ms=-1 if left is None or left > 1e9 else int(left * 1000),
        padding=bytes(ask.padding),
        **more,
    )


class Bench(services.BenchServicer):
    def Unary(self, ask, context):
        metadata(context)
        finish(ask, context, watch(ask, context))
        return told(ask, context, number=ask.number)

    def Count(self, ask, context):
        metadata(context)
        over = watch(ask, context)
        for number in range(ask.number):
            yield told(ask, context, number=number)
        finish(ask, context, over)

    def Sum(self, asks, context):
        metadata(context)
        total, last = 0, protos.Ask()
        for last in asks:
            total += last.number
        finish(last, context, watch(last, context))
        return told(last, context, number=total)

    def Echo(self, asks, context):
        metadata(context)
        for number, ask in enumerate(asks):
            over = watch(ask, context)
            yield told(ask, context, number=number)
            finish(ask, context, over)

    def Convert(self, everything, context):
        return protos.Converted(back=everything, json=json_format.MessageToJson(everything))


def reflect(server):
    names = ["bench.v1.Bench", "bench.v1.Other", "grpc.health.v1.Health", reflection.SERVICE_NAME]
    if options.reflection == "v1alpha":
        reflection.enable_server_reflection(names, server)
    elif options.reflection == "v1":
        # The same messages under the newer name.
        answers = reflection.ReflectionServicer(names).ServerReflectionInfo
        handler = grpc.stream_stream_rpc_method_handler(
            answers,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        name = "grpc.reflection.v1.ServerReflection"
        generic = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((generic,))


compression = grpc.Compression.Gzip if options.gzip else grpc.Compression.NoCompression
server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16), compression=compression)
services.add_BenchServicer_to_server(Bench(), server)
checks = health.HealthServicer()
checks.set("bench.v1.Bench", health_pb2.HealthCheckResponse.SERVING)
checks.set("bench.v1.Other", health_pb2.HealthCheckResponse.NOT_SERVING)
health_pb2_grpc.add_HealthServicer_to_server(checks, server)
reflect(server)
if options.certificates:
    folder = pathlib.Path(options.certificates)
    credentials = grpc.ssl_server_credentials(
        [((folder / "key.pem").read_bytes(), (folder / "chain.pem").read_bytes())],
        root_certificates=(folder / "authority.pem").read_bytes() if options.client_certificates else None,
        require_client_auth=options.client_certificates,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
