"""An HTTP server of Python's standard library that behaves well or badly, by path.

Prints its port. Writes each request as a line of JSON into the file given by --log, before it answers.
Ends when its standard input does.
"""

import argparse
import gzip
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TEXT = b'# TYPE home_power_watts gauge\nhome_power_watts{home="1"} 417.5 1520879607789\nhome_power_watts{home="2"} NaN\n'
OPEN = b'# TYPE home_energy_wh counter\n# UNIT home_energy_wh wh\nhome_energy_wh_total{home="1"} 17.0 1520879607.789\n# EOF\n'
HTML = b"<!DOCTYPE html>\n<html><body>No metrics here</body></html>\n"
FOREVER = threading.Event()
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.act()

    def do_POST(self):
        self.act()

    def act(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        url = urlsplit(self.path)
        with lock, open(arguments.log, "a") as log:
            headers = {name.lower(): value for name, value in self.headers.items()}
            log.write(json.dumps({"method": self.command, "path": self.path, "headers": headers, "body": body}) + "\n")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            getattr(self, "on_" + url.path.strip("/").replace("-", "_"), self.on_unknown)(query)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def give(self, body, kind="text/plain; version=0.0.4", status=200, **headers):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin(self, **headers):
        """A head whose body ends with the connection."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("connection", "close")
        self.end_headers()

    def on_unknown(self, _):
        self.give(b"no such page", status=404)

    def on_metrics(self, _):
        if "gzip" in self.headers.get("accept-encoding", ""):
            self.give(gzip.compress(TEXT), content_encoding="gzip")
        else:
            self.give(TEXT)

    def on_openmetrics(self, _):
        self.give(OPEN, kind="application/openmetrics-text; version=1.0.0; charset=utf-8")

    def on_truncated_gzip(self, _):
        self.give(gzip.compress(TEXT * 100)[:-20], content_encoding="gzip")

    def on_broken_gzip(self, _):
        self.give(b"this is no gzip at all", content_encoding="gzip")

    def on_brotli(self, _):
        self.give(b"?", content_encoding="br")

    def on_bomb(self, _):
        """1 GB of zeros in about 1 MB."""
        self.give(gzip.compress(bytes(1 << 20)) * 1024, content_encoding="gzip")

    def on_drip(self, _):
        self.begin()
        for byte in TEXT * 1000:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            FOREVER.wait(0.05)

    def on_drip_head(self, _):
        self.close_connection = True
        for byte in b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 1000:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            FOREVER.wait(0.05)

    def on_huge(self, _):
        self.begin(content_length=str(1 << 30))
        self.pour()

    def on_huge_without_length(self, _):
        self.begin()
        self.pour()

    def pour(self):
        for _ in range(1024):
            self.wfile.write(b"home_power_watts 1\n" * 55188)

    def on_short(self, _):
        self.begin(content_length="1000")
        self.wfile.write(TEXT)

    def on_html(self, _):
        self.give(HTML, kind="text/html; charset=utf-8")

    def on_wrong_type(self, _):
        self.give(TEXT, kind="application/json")

    def on_protobuf(self, _):
        self.give(b"\0", kind="application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily")

    def on_big_head(self, _):
        self.give(TEXT, x_big="x" * 200_000)

    def on_loop(self, query):
        turn = int(query.get("turn", "0"))
        self.give(b"", status=302, location=f"/loop?turn={turn + 1}")

    def on_redirect(self, query):
        self.give(b"", status=int(query.get("status", "307")), location=query["to"])

    def on_hang(self, _):
        FOREVER.wait()

    def on_refuse_slowly(self, _):
        self.send_response(403)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.flush()
        FOREVER.wait()

    def on_gone(self, _):
        self.close_connection = True

    def on_status(self, query):
        headers = {"retry_after": query["after"]} if "after" in query else {}
        said = query.get("say", "no") * int(query.get("times", "1"))
        self.give(said.encode(), status=int(query["code"]), **headers)


parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--certificate")
arguments = parser.parse_args()
ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if arguments.certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
