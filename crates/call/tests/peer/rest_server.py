"""An HTTP server of Python's standard library for REST calls: it repeats what it was asked, or answers badly, by path.

Prints its port. Everything but `/bad/NAME` is answered with the request as JSON: method, target as it was sent, headers in
lower case, body in base64. Ends when its standard input does.
"""

import base64
import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOREVER = threading.Event()
PROBLEM = json.dumps({"title": "No offer", "detail": "it is gone", "token": "hunter2-hunter2"}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def act(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        path = self.path.split("?")[0]
        try:
            if path.startswith("/bad/"):
                getattr(self, "bad_" + path[5:].replace("-", "_"))()
            else:
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = {"method": self.command, "target": self.path, "headers": headers, "body": base64.b64encode(body).decode()}
                self.give(json.dumps(asked).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = act

    def give(self, body, kind="application/json", status=200, **headers):
        self.begin(kind, status, content_length=len(body), **headers)
        self.wfile.write(body)

    def begin(self, kind="application/json", status=200, **headers):
        self.send_response(status)
        if kind:
            self.send_header("content-type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.flush()

    def last(self, **headers):
        self.close_connection = True
        self.begin(connection="close", **headers)

    def raw(self, data):
        self.close_connection = True
        self.wfile.write(data)
        self.wfile.flush()

    def chunks(self, data, count):
        self.close_connection = True
        self.begin(transfer_encoding="chunked")
        chunk = b"%x\r\n%s\r\n" % (len(data), data)
        for _ in range(count):
            self.wfile.write(chunk)
        self.wfile.write(b"0\r\n\r\n")

    def bad_truncated(self):
        self.last(content_length=1000)
        self.wfile.write(b'{"a": [1, 2')

    def bad_truncated_json(self):
        self.give(b'{"a": [1, 2')

    def bad_huge(self):
        self.last(content_length=1 << 30)
        for _ in range(1024):
            self.wfile.write(b" " * (1 << 20))

    def bad_huge_chunked(self):
        self.chunks(b" " * (1 << 20), 1024)

    def bad_endless(self):
        self.last()
        while True:
            self.wfile.write(b'{"n": 1}\n' * 10000)

    def bad_bomb(self):
        self.give(gzip.compress(bytes(1 << 20)) * 1024, content_encoding="gzip")

    def bad_broken_gzip(self):
        self.give(b"this is no gzip at all", content_encoding="gzip")

    def bad_brotli(self):
        self.give(b"?", content_encoding="br")

    def bad_html(self):
        self.give(b"<!DOCTYPE html><html></html>", kind="text/html; charset=utf-8")

    def bad_no_media_type(self):
        self.give(b"{}", kind="no media type")

    def bad_deep(self):
        self.give(b"[" * 100_000 + b"]" * 100_000)

    def bad_wide(self):
        self.give(b"[" + b'{"":0},' * 1_000_000 + b"0]")

    def bad_utf8(self):
        self.give(b'{"a": "\xff"}')

    def bad_utf16(self):
        self.give('{"a": 1}'.encode("utf-16"))

    def bad_empty(self):
        self.give(b"")

    def bad_schema(self):
        self.give(b'{"n": "seven", "more": {"list": [1, "x"]}}')

    def bad_status(self):
        self.give(b"{}", status=202)

    def bad_drip(self):
        self.last(content_length=1000)
        for _ in range(1000):
            self.wfile.write(b" ")
            self.wfile.flush()
            FOREVER.wait(0.05)

    def bad_drip_head(self):
        self.close_connection = True
        for byte in b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 1000:
            self.raw(bytes([byte]))
            FOREVER.wait(0.05)

    def bad_hang(self):
        FOREVER.wait()

    def bad_gone(self):
        self.close_connection = True

    def bad_no_http(self):
        self.raw(b"220 mail.example.org ESMTP\r\n")

    def bad_two_lengths(self):
        self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ")

    def bad_wrong_length(self):
        self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: nine\r\n\r\n{}")

    def bad_longer(self):
        self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{\"n\": 7}{\"n\": 8}")

    def bad_chunk(self):
        self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")

    def bad_big_head(self):
        self.give(b"{}", x_big="x" * 2_000_000)

    def bad_redirect(self):
        self.give(b"", status=307, location="http://127.0.0.1:1/SECRET")

    def bad_refused(self):
        self.give(PROBLEM, kind="application/problem+json", status=422)

    def bad_busy(self):
        self.give(b"later\nperhaps", kind="text/plain", status=503, retry_after=7)

    def bad_refused_slowly(self):
        self.last(status=403, content_length=1000)
        FOREVER.wait()

    def bad_refused_long(self):
        self.last(status=500, content_length=1 << 30)
        for _ in range(1024):
            self.wfile.write(b" " * (1 << 20))

    def bad_refused_deep(self):
        self.give(b"[" * 100_000, status=400)


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
