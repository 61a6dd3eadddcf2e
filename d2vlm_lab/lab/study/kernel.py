"""A Jupyter kernel that is forked from a process in which everything is imported, instead of started from nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import default


class ForkedKernel:
    """A child that waits to be told its connection file; has what jupyter_client needs of a `Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, threads: int):
        read, self.orders = os.pipe()
        self.returncode: int | None = None
        if not (pid := os.fork()):
            os.close(self.orders)
            _be_a_kernel(read, threads)
        os.close(read)
        self.pid = pid

    def connect(self, connection_file: str) -> None:
        os.write(self.orders, connection_file.encode())
        os.close(self.orders)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def forked_manager(kernel: ForkedKernel, place: str) -> type[AsyncKernelManager]:
    """A kernel manager class, as nbclient takes one, for a kernel that was forked; its sockets are in `place`."""

    class Provisioner(LocalProvisioner):
        async def launch_kernel(self, cmd, **_):
            self.process, self.pid = kernel, kernel.pid
            kernel.connect(self.parent.connection_file)
            return self.connection_info

    class Manager(AsyncKernelManager):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.provisioner = Provisioner(parent=self, kernel_spec=self.kernel_spec)

        @default("transport")
        def _sockets_on_disk(self):  # no port that another run on this machine could take first
            return "ipc"

        @default("connection_file")
        def _short_path(self):
            return os.path.join(place, "k.json")

    return Manager


def _be_a_kernel(orders: int, threads: int) -> None:
    """Never returns."""
    code = 1
    try:
        parent = os.getppid()
        with os.fdopen(orders, "rb") as pipe:
            connection_file = pipe.read().decode()
        if connection_file:
            import torch
            from ipykernel.kernelapp import IPKernelApp

            torch.set_num_threads(threads)
            asyncio.set_event_loop(asyncio.new_event_loop())
            os.environ["IPYTHONDIR"] = os.path.dirname(connection_file)  # nobody's own startup files
            app = IPKernelApp.instance()
            app.initialize(["-f", connection_file, f"--IPKernelApp.parent_handle={parent}",
                            "--HistoryManager.enabled=False", "--log-level=CRITICAL"])
            app.start()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
