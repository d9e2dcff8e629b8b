"""A small PostgreSQL client: SCRAM-SHA-256, simple queries, and the rude things that a driver would not let one do.

The demo's applications speak through it, so that nothing but Python's own library is needed.
Source: "Frontend/Backend Protocol", "SASL Authentication".
"""
from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
from dataclasses import dataclass, field


class PgError(Exception):
    """An ErrorResponse. `fields` by their one-letter types: S severity, C SQLSTATE, M message, D detail, H hint."""

    def __init__(self, body: bytes):
        self.fields = {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
        super().__init__(f"{self.severity}: {self.sqlstate}: {self.message}")

    severity = property(lambda self: self.fields.get("S", ""))
    sqlstate = property(lambda self: self.fields.get("C", ""))
    message = property(lambda self: self.fields.get("M", ""))
    detail = property(lambda self: self.fields.get("D", ""))
    hint = property(lambda self: self.fields.get("H", ""))


class ConnectionLost(Exception):
    """End of file or a reset without any ErrorResponse before it."""


@dataclass
class Result:
    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


class Connection:
    """One session. Blocking, for one thread; every wait ends after `timeout` seconds with TimeoutError."""

    def __init__(self, port: int, user: str, password: str, database: str, application_name: str, timeout: float = 30.0):
        self.notifications: list[tuple[str, str]] = []
        self.transaction_status = "?"
        self.pid = 0
        self._buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._log_in(user, password, {"user": user, "database": database, "application_name": application_name,
                                      "client_encoding": "UTF8"})

    # -- statements

    def query(self, sql: str) -> Result:
        """Sends one simple query and reads up to its ReadyForQuery. Raises the first error of the server."""
        self.send(sql)
        return self.result()

    def send(self, sql: str) -> None:
        self._send(b"Q", sql.encode() + b"\0")

    def result(self) -> Result:
        result, error = Result(), None
        while True:
            kind, body = self._receive()
            if kind == b"D":
                result.rows.append(self._row(body))
            elif kind == b"C":
                result.tags.append(body[:-1].decode())
            elif kind == b"E":
                error = error or PgError(body)
                if error.severity == "FATAL":
                    raise error
            elif kind == b"Z":
                if error:
                    raise error
                return result

    def wait_for_end(self, seconds: float) -> PgError | None:
        """Waits, doing nothing, until the other side ends the session; the error that it gave, if any."""
        self.socket.settimeout(seconds)
        error = None
        try:
            while True:
                kind, body = self._receive()
                if kind == b"E":
                    error = PgError(body)
        except ConnectionLost:
            return error

    # -- ways to leave

    def close(self) -> None:
        """As a driver does: Terminate, then close."""
        try:
            self._send(b"X", b"")
        except OSError:
            pass
        self.socket.close()

    def send_and_leave(self, sql: str) -> None:
        """A query, Terminate and the end of file behind it, at once."""
        query = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", 4 + len(query)) + query + b"X" + struct.pack("!i", 4))
        self.socket.close()

    def half_close(self) -> None:
        """No more from us, but we still listen."""
        self.socket.shutdown(socket.SHUT_WR)

    # -- messages

    def _send(self, kind: bytes, body: bytes) -> None:
        self.socket.sendall(kind + struct.pack("!i", 4 + len(body)) + body)

    def _receive(self) -> tuple[bytes, bytes]:
        """The next message that is not asynchronous news; the news are noted."""
        while True:
            header = self._exactly(5)
            kind, length = header[:1], struct.unpack("!i", header[1:])[0]
            body = self._exactly(length - 4)
            if kind == b"A":
                channel, payload, _ = body[4:].split(b"\0")
                self.notifications.append((channel.decode(), payload.decode()))
            elif kind not in b"NS":
                if kind == b"Z":
                    self.transaction_status = body.decode()
                return kind, body

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                chunk = self.socket.recv(65536)
            except ConnectionError as error:
                raise ConnectionLost(str(error)) from error
            if not chunk:
                raise ConnectionLost("end of file")
            self._buffer += chunk
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    @staticmethod
    def _row(body: bytes) -> tuple[str | None, ...]:
        values, at = [], 2
        for _ in range(struct.unpack_from("!h", body)[0]):
            length = struct.unpack_from("!i", body, at)[0]
            at += 4
            values.append(None if length < 0 else body[at:at + length].decode())
            at += max(length, 0)
        return tuple(values)

    # -- login

    def _log_in(self, user: str, password: str, parameters: dict[str, str]) -> None:
        words = b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in parameters.items()) + b"\0"
        self.socket.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
        scram = Scram(password)
        while True:
            kind, body = self._receive()
            if kind == b"E":
                raise PgError(body)
            if kind == b"R":
                code = struct.unpack_from("!i", body)[0]
                if code == 10:
                    first = scram.first()
                    self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
                elif code == 11:
                    self._send(b"p", scram.final(body[4:]))
                elif code == 12:
                    scram.verify(body[4:])
                elif code != 0:
                    raise RuntimeError(f"authentication method {code} is not spoken here")
            elif kind == b"K":
                self.pid = struct.unpack_from("!i", body)[0]
            elif kind == b"Z":
                return


class Scram:
    """The client's side of SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677)."""

    def __init__(self, password: str):
        self.password = password.encode()
        self.bare = b"n=,r=" + base64.b64encode(os.urandom(18))
        self.server_signature = b""

    def first(self) -> bytes:
        return b"n,," + self.bare

    def final(self, challenge: bytes) -> bytes:
        given = dict(part.split(b"=", 1) for part in challenge.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(given[b"s"]), int(given[b"i"]))
        without_proof = b"c=biws,r=" + given[b"r"]
        transcript = self.bare + b"," + challenge + b"," + without_proof
        client_key = self._mac(salted, b"Client Key")
        signature = self._mac(hashlib.sha256(client_key).digest(), transcript)
        self.server_signature = self._mac(self._mac(salted, b"Server Key"), transcript)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, answer: bytes) -> None:
        if not hmac.compare_digest(answer, b"v=" + base64.b64encode(self.server_signature)):
            raise RuntimeError("the server does not know the password either")

    @staticmethod
    def _mac(key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, hashlib.sha256).digest()
