"""A bank: money is reserved, paid out or released again. Accounts of customers called blocked… take no money.

What is said twice with the same Idempotency-Key is done once; what was done outlives the process.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE = Path(sys.argv[1])
LOCK = threading.Lock()
BANK = json.loads(FILE.read_text()) if FILE.exists() else {"reserved": {}, "paid": {}, "history": [], "answers": {}}


def act(what, asked):
    number = asked["id"]
    BANK["history"].append([what, number])
    if what == "reserve":
        BANK["reserved"][number] = asked["amount"]
        return 201, {"id": number, "reserved": asked["amount"]}
    if what == "release":
        return 200, {"id": number, "released": BANK["reserved"].pop(number, 0)}
    if asked["customer"].startswith("blocked"):
        return 409, {"title": "The account is blocked", "status": 409}
    BANK["paid"][number] = BANK["reserved"].pop(number)
    return 200, {"id": number, "paid": BANK["paid"][number]}


class Bank(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        with LOCK:
            self.answer(200, {key: BANK[key] for key in ("reserved", "paid", "history")})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers.get("Idempotency-Key", "")
        with LOCK:
            if key not in BANK["answers"]:
                BANK["answers"][key] = act(self.path.strip("/"), json.loads(body))
                FILE.parent.mkdir(parents=True, exist_ok=True)
                part = FILE.with_suffix(".part")
                part.write_text(json.dumps(BANK))
                part.replace(FILE)
            self.answer(*BANK["answers"][key])

    def do_DELETE(self):
        with LOCK:
            self.answer(*act("release", {"id": self.path.rsplit("/", 1)[-1]}))

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT_HTTP"])), Bank).serve_forever()
