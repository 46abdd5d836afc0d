"""oauthlib as a realm: tokens by all grants that need no person, and what they open (/data).

The discovery document is below /realm, the address of tokens is /realm/oauth2/token. Clients are named after how they show
themselves; their secret is `open:sesame&1`, the public key of `private_key_jwt` is in the file --key. Eva's password is `wonder`, her
refresh token `first`. Prints its port. Writes each request as a line of JSON into the file --log, before it answers. /revoke ends all
tokens. Ends when its standard input does.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus, urlencode

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from oauthlib.oauth2 import RequestValidator, Server

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--key")
parser.add_argument("--life", type=int, default=3600)
arguments = parser.parse_args()
SECRET = "open:sesame&1"
CLIENTS = {"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"}
lock = threading.Lock()
tokens, refreshers, seen = {}, {"first": "eva"}, set()


def issuer():
    return f"http://127.0.0.1:{listener.server_port}/realm"


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_signed(algorithm, text, signature):
    if algorithm == "HS256":
        return hmac.compare_digest(hmac.new(SECRET.encode(), text, hashlib.sha256).digest(), signature)
    if algorithm != "RS256":
        return False
    with tempfile.NamedTemporaryFile() as file:
        file.write(signature)
        file.flush()
        command = ["openssl", "dgst", "-sha256", "-verify", arguments.key, "-signature", file.name]
        return subprocess.run(command, input=text, capture_output=True, check=False).returncode == 0


def asserted(assertion):
    """The client of an assertion that holds, once."""
    header, claims, signature = assertion.split(".")
    algorithm = json.loads(decoded(header)).get("alg")
    if not is_signed(algorithm, f"{header}.{claims}".encode(), decoded(signature)):
        return None
    said = json.loads(decoded(claims))
    fits = said["iss"] == said["sub"] and said["aud"] == f"{issuer()}/oauth2/token" and said["exp"] > time.time()
    if not fits or said["jti"] in seen:
        return None
    seen.add(said["jti"])
    wanted = {"HS256": "client_secret_jwt", "RS256": "private_key_jwt"}
    return said["sub"] if wanted[algorithm] == said["sub"] else None


def client_of(form, headers):
    """Which client asks, where it shows itself as it has to."""
    scheme, _, pair = headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        client, _, secret = base64.b64decode(pair).decode().partition(":")
        fits = unquote_plus(client) == "client_secret_basic" and unquote_plus(secret) == SECRET
        return "client_secret_basic" if fits else None
    if "client_assertion" in form:
        return asserted(form["client_assertion"])
    if "client_secret" in form:
        fits = form.get("client_id") == "client_secret_post" and form["client_secret"] == SECRET
        return "client_secret_post" if fits else None
    return "none" if form.get("client_id") == "none" else None


class Client:
    def __init__(self, client_id):
        self.client_id = client_id


class Validator(RequestValidator):
    def client_authentication_required(self, request, *_, **__):
        return True

    def authenticate_client(self, request, *_, **__):
        form = {name: values[0] for name, values in parse_qs(request.body if isinstance(request.body, str) else "").items()}
        form = form or dict(request.decoded_body or [])
        name = client_of(form, request.headers)
        request.client = Client(name)
        return name is not None

    def validate_grant_type(self, client_id, grant_type, client, request, *_, **__):
        return grant_type in {"client_credentials", "password", "refresh_token"}

    def get_default_scopes(self, *_, **__):
        return ["read"]

    def validate_scopes(self, client_id, scopes, client, request, *_, **__):
        return set(scopes) <= {"read", "write"}

    def validate_user(self, username, password, client, request, *_, **__):
        request.user = username
        return (username, password) == ("eva", "wonder")

    def validate_refresh_token(self, refresh_token, client, request, *_, **__):
        request.user = refreshers.get(refresh_token)
        return request.user is not None

    def get_original_scopes(self, refresh_token, request, *_, **__):
        return ["read"]

    def save_bearer_token(self, token, request, *_, **__):
        if request.grant_type == "refresh_token":
            refreshers.pop(request.refresh_token)
        if "refresh_token" in token:
            refreshers[token["refresh_token"]] = request.user
        tokens[token["access_token"]] = {"client": request.client.client_id, "user": request.user, "scopes": token["scope"]}


def fresh(*_):
    claims = json.dumps({"iss": issuer(), "jti": secrets.token_hex(8)}).encode()
    return "e30." + base64.urlsafe_b64encode(claims).decode().rstrip("=") + ".eA"


# Called, as zero itself would mean the default.
server = Server(Validator(), token_expires_in=lambda request: arguments.life, token_generator=fresh)


def exchanged(form, headers):
    """RFC 8693, which oauthlib does not know."""
    client, subject = client_of(form, headers), tokens.get(form.get("subject_token"))
    if client is None or subject is None or form.get("subject_token_type") is None:
        return 400, {"error": "invalid_request" if client else "invalid_client"}
    actor = tokens.get(form["actor_token"])["client"] if "actor_token" in form else None
    token = fresh()
    tokens[token] = {**subject, "client": client, "actor": actor, "audience": form.get("audience")}
    return 200, {"access_token": token, "token_type": "Bearer", "issued_token_type": form["requested_token_type"], "expires_in": 60}


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
        if self.path == "/realm/.well-known/openid-configuration":
            self.give(200, {"issuer": issuer(), "token_endpoint": f"{issuer()}/oauth2/token"})
        elif self.path == "/realm/oauth2/token":
            self.token(body, headers)
        elif self.path == "/revoke":
            tokens.clear()
            self.give(200, {})
        else:
            scheme, _, token = headers.get("Authorization", "").partition(" ")
            known = tokens.get(token) if scheme == "Bearer" else None
            self.give(200 if known else 401, known or {})

    def token(self, body, headers):
        if headers.get("Content-Type") == "application/json":
            body = urlencode(json.loads(body))
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if form.get("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange":
            self.give(*exchanged(form, headers))
            return
        more, text, status = server.create_token_response(f"{issuer()}/oauth2/token", "POST", body, headers)
        self.give(status, json.loads(text), more)

    def give(self, status, value, more=None):
        text = json.dumps(value).encode()
        self.send_response(status)
        for name, told in {"content-type": "application/json", **{name.lower(): told for name, told in (more or {}).items()}}.items():
            self.send_header(name, told)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(listener.server_port, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), listener.shutdown()), daemon=True).start()
listener.serve_forever()
