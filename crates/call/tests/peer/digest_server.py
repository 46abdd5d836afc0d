"""httpbin on a port that it prints. Ends when its standard input does."""

import argparse
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from httpbin import app

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
arguments = parser.parse_args()


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        with open(arguments.log, "a") as log:
            log.write('"' + self.requestline.split(" ")[0] + '"\n')


server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
print(server.server_port, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
