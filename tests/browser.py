"""A real browser without a window, spoken to in its own protocol, so that no driver has to be installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import websocket

from d2vlm_lab.lab.teaching.command import BROWSERS

FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)
PATIENCE = 30  # seconds until something that is waited for must be there


class Link:
    """Commands to a browser, or to one page of it."""

    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self.number, self.events = 0, []

    def close(self) -> None:
        self.socket.close()

    def send(self, method: str, **parameters):
        """A command and its result; what the browser tells meanwhile is kept in `events`."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (told := json.loads(self.socket.recv())).get("id") != self.number:
            self.events.append(told)
        assert "error" not in told, told
        return told["result"]


class Page(Link):
    """One tab."""

    def __init__(self, address: str):
        super().__init__(address)
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def run(self, script: str):
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
                           userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"!!({condition})"):
            assert time.monotonic() < end, f"not yet: {condition}; on the page: {self.run('document.body.innerText')}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")

    def size(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)

    def click(self, element: str) -> None:
        """A click with the mouse in the middle of the element that a script finds."""
        x, y = self.run(f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); "
                        "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    @property
    def complaints(self) -> list[str]:
        """What the browser has written to its console."""
        return [json.dumps(event["params"]) for event in self.events
                if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A new browser with its profile in `folder`."""
    no_sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with open(folder / "browser.log", "wb") as log:
        process = subprocess.Popen([FOUND, "--headless", *no_sandbox, "--disable-gpu", "--remote-debugging-port=0",
                                    f"--user-data-dir={folder}", "--autoplay-policy=no-user-gesture-required",
                                    "about:blank"], stdout=log, stderr=log)
    try:
        end = time.monotonic() + PATIENCE
        while not (lines := (folder / "DevToolsActivePort").read_text().split()
                   if (folder / "DevToolsActivePort").exists() else []):
            assert process.poll() is None and time.monotonic() < end, (folder / "browser.log").read_text()
            time.sleep(0.05)
        port, path = lines
        with closing(Link(f"ws://127.0.0.1:{port}{path}")) as whole:
            target = whole.send("Target.createTarget", url="about:blank")["targetId"]
            with closing(Page(f"ws://127.0.0.1:{port}/devtools/page/{target}")) as page:
                yield page
    finally:
        process.terminate()
        process.wait()
