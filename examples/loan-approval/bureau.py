"""A credit bureau: the score of a customer, the same each time it is asked."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Bureau(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        customer = self.path.rsplit("/", 1)[-1]
        score = 350 if customer.startswith("poor") else 400 + sum(map(ord, customer)) % 400
        body = json.dumps({"customer": customer, "score": score}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT_HTTP"])), Bureau).serve_forever()
