"""A proxy between clients and one broker that cuts, and loses what it is told to lose.

It knows of the protocol where a request begins and its kind, and no more: everything
is passed on as it comes.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time

# Requests whose loss hurts, by their kind.
KINDS = {
    "Produce": 0,
    "AddPartitionsToTxn": 24,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
}
CHUNK = 1 << 18


class Connection:
    """One client's connection, and ours to the broker."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self.client = client
        self.broker = broker
        self.loses_reply = False

    def close(self) -> None:
        """End both sides."""
        for side in (self.client, self.broker):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A port that leads to a broker."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._upstream: tuple[str, int] | None = None
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._order: tuple[str, int] | None = None
        self.fired = 0

    def connect_to(self, address: str) -> None:
        """Say where the broker listens, and begin."""
        host, port = address.split(":")
        self._upstream = (host, int(port))
        threading.Thread(target=self._accept, daemon=True).start()

    def order(self, what: str, kind: str) -> None:
        """`lose` the reply to the next request of a kind, or `hold` the request itself."""
        with self._lock:
            self._order = (what, KINDS[kind])

    def withdraw(self) -> None:
        """Forget an order that nothing has met."""
        with self._lock:
            self._order = None

    def cut(self, chance: random.Random, share: float) -> int:
        """Cut a share of the connections that are open; return how many."""
        with self._lock:
            chosen = [one for one in self._connections if chance.random() < share]
        for one in chosen:
            one.close()
        return len(chosen)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            assert self._upstream is not None
            try:
                broker = socket.create_connection(self._upstream, timeout=5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            for side in (client, broker):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one = Connection(client, broker)
            with self._lock:
                self._connections.add(one)
            threading.Thread(target=self._pass_requests, args=(one,), daemon=True).start()
            threading.Thread(target=self._pass_replies, args=(one,), daemon=True).start()

    def _pass_replies(self, one: Connection) -> None:
        with contextlib.suppress(OSError):
            while data := one.broker.recv(CHUNK):
                if one.loses_reply:
                    break
                one.client.sendall(data)
        one.close()
        with self._lock:
            self._connections.discard(one)

    def _pass_requests(self, one: Connection) -> None:
        buffer = b""
        # What of the current request is still to be passed on.
        left = 0
        with contextlib.suppress(OSError):
            while data := one.client.recv(CHUNK):
                buffer += data
                while buffer:
                    if left == 0:
                        if len(buffer) < 6:
                            break
                        left = 4 + int.from_bytes(buffer[:4], "big")
                        if self._is_held(one, buffer, left):
                            return
                    part, buffer = buffer[:left], buffer[left:]
                    left -= len(part)
                    one.broker.sendall(part)
        # A request whose reply is to be lost may still be under way.
        if not one.loses_reply:
            one.close()

    def _is_held(self, one: Connection, buffer: bytes, length: int) -> bool:
        """Carry an order out if the request that begins here is of its kind."""
        with self._lock:
            if self._order is None or self._order[1] != int.from_bytes(buffer[4:6], "big"):
                return False
            what = self._order[0]
            if what == "hold" and len(buffer) < length:
                return False
            self._order = None
            self.fired += 1
        if what == "lose":
            one.loses_reply = True
            return False
        held = buffer[:length]
        one.close()
        threading.Thread(target=self._release_later, args=(held,), daemon=True).start()
        return True

    def _release_later(self, request: bytes) -> None:
        """Let a request arrive late: the client has long sent it again."""
        time.sleep(1.5)
        assert self._upstream is not None
        with contextlib.suppress(OSError), socket.create_connection(self._upstream, 5) as broker:
            broker.sendall(request)
            broker.recv(CHUNK)
