"""oauthlib as the server of tokens (/token) and of what they open (/data).

The client is `meter reader` with the secret `open:sesame&1`. Prints its port. Writes each request as a line of JSON into
the file given by --log, before it answers. /revoke ends all tokens. Ends when its standard input does.
"""

import argparse
import base64
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_plus

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from oauthlib.oauth2 import BackendApplicationServer, RequestValidator

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--life", type=int, default=3600)
parser.add_argument("--answer", help="what /token answers instead: STATUS:BODY")
arguments = parser.parse_args()
lock = threading.Lock()
tokens = {}


class Client:
    client_id = "meter reader"


class Validator(RequestValidator):
    def authenticate_client(self, request, *_, **__):
        client, secret = request.client_id, request.client_secret
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            client, _, secret = base64.b64decode(pair).decode().partition(":")
            client, secret = unquote_plus(client), unquote_plus(secret)
        request.client = Client()
        return client == Client.client_id and secret == "open:sesame&1"

    def validate_grant_type(self, client_id, grant_type, client, request, *_, **__):
        return grant_type == "client_credentials"

    def get_default_scopes(self, *_, **__):
        return ["read"]

    def validate_scopes(self, client_id, scopes, client, request, *_, **__):
        return set(scopes) <= {"read", "write"}

    def save_bearer_token(self, token, request, *_, **__):
        tokens[token["access_token"]] = token["scope"].split()

    def validate_bearer_token(self, token, scopes, request):
        return token in tokens and set(scopes) <= set(tokens[token])


# Called, as zero itself would mean the default.
server = BackendApplicationServer(Validator(), token_expires_in=lambda request: arguments.life)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.act()

    def do_POST(self):
        self.act()

    def act(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        headers = {name.title(): value for name, value in self.headers.items()}
        with lock, open(arguments.log, "a") as log:
            log.write(json.dumps({"path": self.path, "headers": headers, "body": body}) + "\n")
        uri = f"http://127.0.0.1{self.path}"
        if self.path == "/token" and arguments.answer:
            status, _, text = arguments.answer.partition(":")
            self.give(int(status), text)
        elif self.path == "/token":
            more, text, status = server.create_token_response(uri, self.command, body, headers)
            self.give(status, text, more)
        elif self.path == "/revoke":
            tokens.clear()
            self.give(200, "{}")
        else:
            valid, _ = server.verify_request(uri, self.command, body, headers, ["read"])
            self.give(200 if valid else 401, json.dumps({"valid": valid}))

    def give(self, status, text, more=None):
        self.send_response(status)
        for name, value in (more or {"content-type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(listener.server_port, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), listener.shutdown()), daemon=True).start()
listener.serve_forever()
