"""The warm process: imports everything once, touches no GPU, computes nothing, and forks itself for each run.

It reads requests as JSON lines on stdin, `{"id", "job", "environment"}`, and answers on stdout, `{"id", "code"}`, when
a run has ended. When stdin closes, whoever asked is gone: all runs are killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path

from .identity import source

THIRD_PARTY = ("torch", "transformers", "peft", "safetensors.torch", "matplotlib.pyplot", "pandas", "seaborn",
               "papermill", "nbclient", "ipykernel.kernelapp", "ipykernel.ipkernel", "jupyter_client")
OURS = ("d2vlm_lab.lab.run", "d2vlm_lab.judging.evaluate", "d2vlm_lab.lab.plots", "d2vlm_lab.lab.study.kernel",
        "d2vlm_lab.lab.study.point")
DISK_FULL = 74  # exit code: the run could not even write down how it ended


def serve() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever an import prints is no answer
    files = source()
    for name in (*THIRD_PARTY, *OURS):
        importlib.import_module(name)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    try:
        _say(answers, {"ready": True, "library": files, "threads": threads()})
        _loop(answers, woken, running)
    except BaseException:
        traceback.print_exc()
    finally:
        _kill(running)
        os._exit(0)  # there is nothing here that would have to be put away


def threads() -> list[str]:
    """Names of this process's threads besides the main one, of which a fork would know nothing; only Linux says."""
    tasks = Path("/proc/self/task")
    others = [task for task in tasks.iterdir() if task.name != str(os.getpid())] if tasks.exists() else []
    return [(task / "comm").read_text().strip() for task in others]


def _loop(answers: int, woken: int, running: dict[int, int]) -> None:
    """Until stdin closes; `running` maps a run's process to the id of its request."""
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if key.fd == woken:
                    _reap(answers, running)
                elif not data:
                    return
                else:
                    *lines, text = (text + data).split(b"\n")
                    for line in lines:
                        request = json.loads(line)
                        running[_fork(request, [answers, woken, selector.fileno()])] = request["id"]


def _fork(request: dict, private: list[int]) -> int:
    if pid := os.fork():
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = _child(request["job"], request["environment"], private)
    except BaseException:
        traceback.print_exc()
        code = DISK_FULL if isinstance(sys.exc_info()[1], OSError) else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _child(job: dict, environment: dict, private: list[int]) -> int:
    """The forked run: its own folder's log, its own slot, then the work."""
    from .point import LOG, run_point

    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for handle in (log, null, *private):
        os.close(handle)
    os.environ.update(environment)
    os.chdir(job["cwd"])
    return 0 if run_point(job) else 1


def _reap(answers: int, running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _kill([pid])  # what it may have left behind
        _say(answers, {"id": running.pop(pid), "code": os.waitstatus_to_exitcode(status)})


def _kill(groups) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _say(answers: int, message: dict) -> None:
    os.write(answers, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    serve()
