"""A server of greet.proto, which lies in the working folder, by grpcio. Prints its port. Ends when its standard input does."""

import concurrent.futures
import sys

import grpc

sys.path.insert(0, ".")
protos, services = grpc.protos_and_services("greet.proto")


class Greeter(services.GreeterServicer):
    def SayHello(self, request, context):
        return protos.Told(message="Hello " + request.name)


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=2))
services.add_GreeterServicer_to_server(Greeter(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None)
