"""The app as a server for this machine alone. Its addresses begin with a secret; without it there is no answer.

A request never names a file. It names a video by its number on the shelf, which is looked up and never made into a
path.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypedDict
from urllib.parse import unquote

from ...errors import LabError
from ...reader import parse_json
from ..ask import TYPES
from ..show.card import card_html
from .live import Gone, Sessions, TooMany
from .page import POLICY, page
from .shelf import CHUNK, NotThere, Shelf

ADDRESS = "127.0.0.1"
WORDS = 2**16  # most bytes of a question with all that is around it
LINGERING = 2  # seconds at most
AT_ONCE = 4  # videos that may be sent at the same time
PATIENCE = 10  # seconds that an answer on its way may still take when the app is ended
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
           "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
           "Cache-Control": "no-store"}
STATUSES = {NotThere: HTTPStatus.NOT_FOUND, TooMany: HTTPStatus.SERVICE_UNAVAILABLE}


class Question(TypedDict):
    video: str
    question: str


class Standing(TypedDict):
    video: str
    questions: list[str]


class Refused(Exception):
    """A request that gets no other answer than this status and the reason."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class App(ThreadingHTTPServer):
    """One thread for each connection. The threads end with the process."""

    daemon_threads = True

    def __init__(self, shelf: Shelf, port: int = 0):
        self.shelf, self.secret, self.sessions = shelf, secrets.token_urlsafe(24), Sessions(shelf)
        super().__init__((ADDRESS, port), Handler)
        self.arriving = threading.BoundedSemaphore(AT_ONCE)
        # A browser that was sent here by a trick, with the name of another site, gets no answer.
        self.hosts = tuple(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))
        self.url = f"http://{self.hosts[0]}/{self.secret}/"

    def server_close(self) -> None:
        """Also what is watched live ends here."""
        super().server_close()
        self.sessions.end(PATIENCE)

    def handle_error(self, request, client_address) -> None:
        """A browser that goes away in the middle is nothing to report."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds without a byte
    server: App

    def do_GET(self) -> None:
        self.answer({"": self.send_page, "videos/": self.send_video})

    def do_POST(self) -> None:
        self.answer({"videos": self.take_video, "ask": self.take_question, "live": self.send_live})

    def answer(self, routes: dict[str, Callable[..., None]]) -> None:
        """What belongs to the address, or an error in words. An address that ends in / is followed by a number."""
        try:
            route, slash, number = self.route().partition("/")
            if (route + slash) not in routes or slash == "/" and not number:
                raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this address")
            routes[route + slash](*[number] if slash else [])
        except Refused as error:
            self.send_problem(error.status, error)
        except LabError as error:
            self.send_problem(STATUSES.get(type(error), HTTPStatus.BAD_REQUEST), error)

    def route(self) -> str:
        """What follows the secret, if this request may be answered at all."""
        host = self.headers.get("Host", "")
        if host not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "this server answers only to the name of this machine")
        foreign = self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
        if self.command == "POST" and (foreign or self.headers.get("Origin") not in (None, f"http://{host}")):
            raise Refused(HTTPStatus.FORBIDDEN, "this request comes from the page of another site")
        secret, slash, route = self.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(secret.encode(), self.server.secret.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "open the address that `d2vlm-lab app` has printed")
        return route

    def length(self) -> int:
        """How many bytes follow."""
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"\d{1,15}", self.headers.get("Content-Length", "")):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is")
        return int(self.headers["Content-Length"])

    def send_page(self) -> None:
        self.send(HTTPStatus.OK, page(self.server.shelf).encode(), "text/html; charset=utf-8")

    def send_video(self, number: str) -> None:
        """All of it, or the part that a player asks for."""
        video = self.server.shelf.find(number)
        kind = TYPES.get(video.path.suffix.lower(), "application/octet-stream")
        with video.open() as file:
            size = os.fstat(file.fileno()).st_size
            start, end = self.part(size)
            if "Range" in self.headers:
                self.begin(HTTPStatus.PARTIAL_CONTENT, end - start, kind,
                           {"Content-Range": f"bytes {start}-{end - 1}/{size}"})
            else:
                self.begin(HTTPStatus.OK, end - start, kind, {"Accept-Ranges": "bytes"})
            file.seek(start)
            while start < end and (data := file.read(min(CHUNK, end - start))):
                self.wfile.write(data)
                start += len(data)

    def part(self, size: int) -> tuple[int, int]:
        """The first byte that is wanted and the one after the last."""
        if (wanted := self.headers.get("Range")) is None:
            return 0, size
        numbers = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", wanted.strip())
        first, last = numbers.groups() if numbers else ("", "")
        start = int(first) if first else max(0, size - int(last or 0))
        end = min(size, int(last) + 1) if first and last else size
        if start >= end:
            raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the file has {size:,} bytes")
        return start, end

    def take_video(self) -> None:
        """Keep the bytes that follow, under the name in a header."""
        name = unquote(self.headers.get("X-Name", ""))
        length = self.length()
        if not self.server.arriving.acquire(blocking=False):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "several videos are being sent; try again in a moment")
        try:
            self.send_json(self.server.shelf.drop(name, length, self.rfile.read1).about)
        finally:
            self.server.arriving.release()

    def take_question(self) -> None:
        """The answer as the page shows it."""
        asked = parse_json(self.words(), Question, "the request")
        shelf = self.server.shelf
        video = shelf.find(asked["video"])
        card = shelf.ask(video, asked["question"]).card(video.truth(asked["question"]))
        self.send_json({"html": card_html(replace(card, video=video.name, player=f"videos/{video.id}"))})

    def send_live(self) -> None:
        """A line of JSON for every frame, while the video runs and the connection is there."""
        asked = parse_json(self.words(), Standing, "the request")
        self.close_connection = True
        video = self.server.shelf.find(asked["video"])
        with suppress(Gone), self.server.sessions.watch(video, asked["questions"], self.connection) as lines:
            self.begin(HTTPStatus.OK, None, "application/x-ndjson", {})
            for line in lines:
                self.wfile.write(json.dumps(line).encode() + b"\n")

    def words(self) -> str:
        """The text that follows."""
        if (length := self.length()) > WORDS:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a question may have up to {WORDS:,} bytes")
        return self.rfile.read(length).decode("utf-8", "replace")

    def send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send(status, json.dumps(value).encode(), "application/json")

    def send_problem(self, status: HTTPStatus, problem: Exception) -> None:
        """The error in words. The rest of the request is of no use, so the connection ends."""
        self.close_connection = True
        self.send_json({"error": str(problem)}, status)
        if self.command == "POST":
            self.linger()

    def linger(self) -> None:
        """Let a little more arrive: if the connection were cut at once, the answer would be lost."""
        end, left = time.monotonic() + LINGERING, 4 * CHUNK
        self.connection.settimeout(LINGERING)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and time.monotonic() < end and (part := self.rfile.read1(CHUNK)):
                left -= len(part)

    def send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.begin(status, len(body), kind, {})
        self.wfile.write(body)

    def begin(self, status: HTTPStatus, length: int | None, kind: str, more: dict[str, str]) -> None:
        """The headers. A body without a length goes on until the connection ends."""
        self.send_response(status)
        closing = {"Connection": "close"} if self.close_connection else {}
        size = {} if length is None else {"Content-Length": str(length)}
        for name, value in {**HEADERS, "Content-Type": kind, **size, **closing, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        return "d2vlm-lab"

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not written down: their addresses hold the secret."""
