"""pproxy: an HTTP proxy with a login.

Prints its port. Writes each connection that it makes for others as a line of JSON into the file given by --log.
Ends when its standard input does.
"""

import argparse
import asyncio
import json
import sys
import threading

import pproxy

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--login", default="", help="user:password")
arguments = parser.parse_args()


def note(text):
    with open(arguments.log, "a") as log:
        log.write(json.dumps(text) + "\n")


async def main():
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    server = pproxy.Server("http://127.0.0.1:0/" + (f"#{arguments.login}" if arguments.login else ""))
    handler = await server.start_server({"rserver": [], "verbose": note, "authtime": 0})
    print(handler.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


asyncio.run(main())
