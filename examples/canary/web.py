"""A small web server: answers with its version; of 100 requests, FAILS fail."""

import itertools
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ["VERSION"]
FAILS = int(os.environ.get("FAILS", "0"))
COUNTER = itertools.count()


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        fails = self.path == "/" and next(COUNTER) % 100 < FAILS
        body = f"version {VERSION}\n".encode()
        self.send_response(500 if fails else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT_HTTP"])), Web).serve_forever()
