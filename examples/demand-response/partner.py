"""A partner of the street, or the operator of its grid: takes what it is told, once for each Idempotency-Key.

What it was told outlives the process, in the file that is its argument.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE = Path(sys.argv[1])
LOCK = threading.Lock()
TOLD = json.loads(FILE.read_text()) if FILE.exists() else {}


class Partner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        with LOCK:
            self.answer(200, list(TOLD.values()))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        with LOCK:
            TOLD.setdefault(self.headers.get("Idempotency-Key", str(len(TOLD))), body)
            FILE.parent.mkdir(parents=True, exist_ok=True)
            part = FILE.with_suffix(".part")
            part.write_text(json.dumps(TOLD))
            part.replace(FILE)
        self.answer(200, {"accepted": True, **body})

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT_HTTP"])), Partner).serve_forever()
