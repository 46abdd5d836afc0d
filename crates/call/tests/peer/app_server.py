"""Hypercorn: HTTP/1.1 and HTTP/2, with TLS or without, with clients' certificates or without.

Prints its port. Writes each request as a line of JSON into the file given by --log, before it answers. Answers what it
was asked; /redirect?to=URL redirects there. Ends when its standard input does.
"""

import argparse
import asyncio
import json
import socket
import ssl
import sys
import threading
from urllib.parse import parse_qs

from hypercorn.asyncio import serve
from hypercorn.config import Config

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--certificate", help="key and certificates, as PEM")
parser.add_argument("--clients", help="the authority of clients; they must show a certificate")
parser.add_argument("--protocols", default="h2,http/1.1")
arguments = parser.parse_args()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    told = {
        "version": scope["http_version"],
        "method": scope["method"],
        "path": scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else ""),
        "headers": {name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        "body": body.decode("latin-1"),
    }
    with open(arguments.log, "a") as log:
        log.write(json.dumps(told) + "\n")
    status, headers = 200, [(b"content-type", b"application/json")]
    if scope["path"] == "/redirect":
        status = 302
        headers.append((b"location", parse_qs(scope["query_string"].decode())["to"][0].encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


config = Config()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
config.bind = [f"fd://{listener.fileno()}"]
config.alpn_protocols = arguments.protocols.split(",")
config.accesslog = config.errorlog = None
if arguments.certificate:
    config.certfile = config.keyfile = arguments.certificate
if arguments.clients:
    config.ca_certs = arguments.clients
    config.verify_mode = ssl.CERT_REQUIRED


async def main():
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    await serve(app, config, shutdown_trigger=ended.wait)


asyncio.run(main())
