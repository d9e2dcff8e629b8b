"""A PostgreSQL for one run: own directory, own port, SCRAM, an unprivileged user even when called by root.

The demo and the driver tests start it. It is ended by its process id, and, should its parent be killed, by the kernel.
"""
from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path


class Failure(RuntimeError):
    """A server did not come up or did not stay up; the text carries the end of its log."""


def programs() -> Path:
    """The folder of initdb, postgres and pgbench: Debian keeps them off PATH, one folder a major version."""
    found = [d for d in Path("/usr/lib/postgresql").glob("*/bin") if (d / "postgres").exists() and (d / "initdb").exists()]
    if found:
        return max(found, key=lambda d: int(d.parent.name) if d.parent.name.isdigit() else 0)
    initdb = shutil.which("initdb")
    if not initdb:
        raise Failure("no PostgreSQL server programs here: apt install postgresql-15")
    return Path(initdb).resolve().parent


def free_port() -> int:
    """Below the kernel's own range, so that no outgoing connection takes the port before it is used."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def unprivileged(user: str, signal_name: str) -> list[str]:
    """Command prefix: give up root for `user`, and die by `signal_name` when the parent does."""
    prefix = ["setpriv", f"--pdeathsig={signal_name}"]
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        prefix += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
    return prefix


def hand_over(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)


def wait_until(condition, seconds: float, interval: float = 0.02):
    """The first true value of `condition`, or its last one when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(interval)


def end(process: subprocess.Popen, *signals: tuple[int, float]) -> int | None:
    """Sends each (signal, seconds to wait) until the process is gone; SIGKILL comes last. Only ever by its own pid."""
    for number, seconds in (*signals, (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            break
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    return process.returncode


class Postgres:
    """Superuser `postgres` with `password`, listening on 127.0.0.1:`port` only."""

    def __init__(self, directory: Path, settings: dict[str, str] | None = None):
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.programs = programs()
        self.os_user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.password = "".join(random.SystemRandom().choices("abcdefghjkmnpqrstuvwxyz23456789", k=20))
        self.settings = {"fsync": "off", "jit": "off", "listen_addresses": "'127.0.0.1'", "unix_socket_directories": "''",
                         "timezone": "'UTC'", **(settings or {})}
        self.port = 0
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.directory.mkdir(mode=0o700)
        hand_over(self.directory, self.os_user)
        self._initialise()
        for attempt in range(3):  # another process may take the port between the probe and the start
            self.port = free_port()
            if self._launch():
                return
            if attempt == 2 or "could not bind" not in self.log.read_text():
                raise Failure("PostgreSQL did not start:\n" + self.log.read_text()[-2000:])

    def _initialise(self) -> None:
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password + "\n")
        hand_over(password_file, self.os_user)
        done = subprocess.run(
            [*unprivileged(self.os_user, "KILL"), str(self.programs / "initdb"), "--pgdata", str(self.data),
             "--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
             "--no-instructions"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", check=False)
        password_file.unlink()
        if done.returncode != 0:
            raise Failure("initdb failed:\n" + done.stdout[-2000:])
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.writelines(f"{key} = {value}\n" for key, value in self.settings.items())

    def _launch(self) -> bool:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*unprivileged(self.os_user, "INT"), str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        wait_until(lambda: self.process.poll() is not None or self._is_ready(), 30)
        return self.process.poll() is None and self._is_ready()

    def _is_ready(self) -> bool:
        """The eighth line of postmaster.pid is the server's own word; pg_ctl looks at nothing else."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self) -> None:
        if self.process:
            end(self.process, (signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0))
