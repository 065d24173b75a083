#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients that ask some hosts through nginx until they are told to stop, for bin/bench.

    load.py --out FILE --seconds N --requests N --clients N --pause SECONDS [--path PATH] ADDRESS...

Closed loop: each client sends its next request when the last one is answered, after a pause, so that the load leaves
the machine room for what is measured. A connection per request, since a kept one would hide a moment in which none could
be made. SIGTERM ends it; the number of requests and the time end it as well. FILE gets one JSON list per request: when it
was sent (CLOCK_MONOTONIC, which every process of the machine shares), how long it took, both in seconds, and what was
wrong with the answer, empty when nothing was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

LONGEST_ANSWER = 10.0
PORT = 80
HOST = "projects.example.org"


def problem_of(answer: bytes) -> str:
    """What is wrong with an answer; empty for a whole 2xx."""
    head, split, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if not split or len(words) < 2 or not words[0].startswith(b"HTTP/"):
        return "cut short" if answer else "no answer"
    if not words[1].startswith(b"2"):
        return f"status {words[1].decode('ascii', 'replace')}"
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and int(value) != len(body):
            return "cut short"
    return ""


async def ask(address: str, path: str) -> str:
    """One request on a connection of its own; what was wrong with it."""
    try:
        async with asyncio.timeout(LONGEST_ANSWER):
            reader, writer = await asyncio.open_connection(address, PORT)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                return problem_of(await reader.read())
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return type(error).__name__


async def client(address: str, path: str, pause: float, seen: list[tuple[float, float, str]], most: int) -> None:
    while len(seen) < most:
        began = time.monotonic()
        problem = await ask(address, path)
        seen.append((began, time.monotonic() - began, problem))
        await asyncio.sleep(pause)


async def load(arguments: argparse.Namespace) -> list[tuple[float, float, str]]:
    seen: list[tuple[float, float, str]] = []
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clients = [
        asyncio.create_task(client(address, arguments.path, arguments.pause, seen, arguments.requests))
        for address in arguments.addresses
        for _ in range(arguments.clients)
    ]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), arguments.seconds)
    for task in clients:
        task.cancel()  # a request without its answer is not counted: nobody waits for it any more
    await asyncio.gather(*clients, return_exceptions=True)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--pause", type=float, required=True)
    parser.add_argument("--path", default="/api/projects")
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    arguments = parser.parse_args()
    aside = arguments.out.with_suffix(".aside")
    aside.write_text("".join(json.dumps(one) + "\n" for one in asyncio.run(load(arguments))), encoding="utf-8")
    os.replace(aside, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
