"""A mail server: aiosmtpd. Prints its port; writes each e-mail as a line of JSON into --log. Ends with its standard input."""

import argparse
import asyncio
import json
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--certificate")
parser.add_argument("--tls", choices=["none", "starttls", "wrapped"], default="none")
parser.add_argument("--login", help="USER:PASSWORD that is required")
parser.add_argument("--receiver", help="answer to each RCPT instead of taking it")
parser.add_argument("--hang", action="store_true", help="never answer to DATA")
arguments = parser.parse_args()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if arguments.receiver:
            return arguments.receiver
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if arguments.hang:
            await asyncio.Event().wait()
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode(),
            "encrypted": server.transport.get_extra_info("ssl_object") is not None,
            "login": session.authenticated,
            "hello": session.host_name,
        }
        with open(arguments.log, "a") as log:
            log.write(json.dumps(mail) + "\n")
        return "250 taken as 1"


def check(server, session, envelope, mechanism, data):
    given = f"{data.login.decode()}:{data.password.decode()}"
    return AuthResult(success=given == arguments.login, handled=False)


async def main():
    context = None
    if arguments.tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate)
    options = {"hostname": "localhost"}
    if arguments.tls == "starttls":
        options["tls_context"] = context
    if arguments.login:
        options |= {"authenticator": check, "auth_required": True, "auth_require_tls": arguments.tls == "starttls"}
    wrapped = context if arguments.tls == "wrapped" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), **options), "127.0.0.1", 0, ssl=wrapped)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()


asyncio.run(main())
