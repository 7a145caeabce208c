"""Detects dead ranks, and ends the others with a message that names the dead one.

Every rank keeps a connection to rank 0, over which both sides regularly send a heartbeat from a separate thread. A
broken connection is noticed at once, a hanging rank or a lost host after some missed beats. So collectives need no
short time-outs, which would kill compilation and long evaluations.
"""

import asyncio
import contextlib
import json
import os
import resource
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.support.files import write_whole

BEAT_SECONDS = 2.5
SILENT_BEATS = 8  # until a peer counts as dead; with the 30 s that launchers take to end the rest, under a minute
_CONNECT_SECONDS = 60.0
_VERDICT_SECONDS = 10.0


@dataclass
class _Peer:
    """The other end of a connection, and its last heartbeat."""

    writer: asyncio.StreamWriter
    beat: dict[str, Any] = field(default_factory=dict)
    silent: int = 0

    def send(self, message: dict[str, Any]) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")


class Watch:
    """A context manager that watches the other ranks; with one rank it does nothing.

    When a peer dies, this process prints which one, writes `last_phase/<rank>.json` to the run folder, and exits with
    code 1, whatever its main thread is waiting for. A rank that exits the context normally, or by an error that all
    ranks raise, tells its peers that it has left; any other error ends them too.

    Raises:
        SharedError: on entry, if a rank cannot reach rank 0.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._folder: Path | None = None
        self._position: Callable[[], dict[str, Any]] = dict
        self._token = ""
        self._socket: socket.socket | None = None
        self._peers: list[_Peer] = []
        self._listeners: list[asyncio.Task] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def follow(self, folder: Path, where: Callable[[], dict[str, Any]]) -> None:
        """From now on, heartbeats hold `where()` (images, iterations, phase), and `folder` gets `last_phase`."""
        self._folder, self._position = folder, where

    def wait_to_be_ended(self) -> None:
        """Gives the watch time to find out which peer died and to end this process, after a collective has failed."""
        if self._thread is not None:
            self._thread.join(_VERDICT_SECONDS)

    def __enter__(self) -> "Watch":
        if self.ranks.world_size == 1:
            return self
        listener = _listener(self.ranks.world_size) if self.ranks.is_main else None
        port, self._token = self.ranks.broadcast((listener and listener.getsockname()[1], secrets.token_hex(8)))
        self._socket = self.ranks.run_collectively(lambda: listener or self._connected(port))
        os.register_at_fork(after_in_child=self._close_in_child)
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="liveness", daemon=True)
        self._thread.start()
        ready.wait()
        self.ranks.barrier()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread is None:
            return
        failed = error is not None and not getattr(error, "shared", False)
        farewell = {"failed": " ".join(str(error).split()) or kind.__name__} if failed else {"left": True}
        with contextlib.suppress(RuntimeError):  # the loop has ended: the other side left first
            self._loop.call_soon_threadsafe(self._leave, farewell)
        self._thread.join(_VERDICT_SECONDS)
        self._socket, self._peers = None, []

    def _close_in_child(self) -> None:
        """Closes the connections in a forked loader worker, which would hold them open past this rank's death."""
        sockets = [self._socket, *(peer.writer.get_extra_info("socket") for peer in self._peers)]
        for descriptor in {own.fileno() for own in sockets if own is not None} - {-1}:
            os.close(descriptor)

    def _connected(self, port: int) -> socket.socket:
        address = os.environ["MASTER_ADDR"]
        try:
            return socket.create_connection((address, port), _CONNECT_SECONDS)
        except OSError as error:
            raise UserError(f"rank {self.ranks.rank} on {socket.gethostname()} cannot reach rank 0 at {address}, port "
                            f"{port}: {error}; all hosts of a run must be able to connect on any port") from error

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        if self.ranks.is_main:
            server = await asyncio.start_server(self._accept, sock=self._socket, backlog=self.ranks.world_size)
        else:
            reader, writer = await asyncio.open_connection(sock=self._socket)
            self._listeners.append(asyncio.create_task(self._listen(reader, self._add_peer(writer))))
        beats = asyncio.create_task(self._beat())
        ready.set()
        await self._left.wait()
        beats.cancel()
        if self.ranks.is_main:
            server.close()
        for peer in self._peers:
            peer.writer.close()
        if self._listeners:
            await asyncio.wait(self._listeners, timeout=1)  # lets each read what is left

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accepts connections that send the token; on rank 0."""
        try:
            beat = json.loads(await reader.readline())
            welcome = beat["token"] == self._token
        except (OSError, ValueError, KeyError, TypeError):
            welcome = False
        if not welcome:
            writer.close()
            return
        self._listeners.append(asyncio.current_task())
        peer = self._add_peer(writer)
        peer.beat = beat
        await self._listen(reader, peer)

    def _add_peer(self, writer: asyncio.StreamWriter) -> _Peer:
        peer = _Peer(writer)
        self._peers.append(peer)
        peer.send(self._own_beat())
        return peer

    async def _listen(self, reader: asyncio.StreamReader, peer: _Peer) -> None:
        """Reads a peer's messages until it leaves or its connection breaks."""
        with contextlib.suppress(OSError):
            async for line in reader:
                message = json.loads(line)
                peer.silent = 0
                if "left" in message:
                    self._peers.remove(peer)
                    peer.writer.close()
                    if not self.ranks.is_main:
                        self._left.set()
                    return
                if "failed" in message:
                    self._peer_died(peer, f"failed: {message['failed']}")
                if "reason" in message:
                    self._end(message["reason"])
                peer.beat = message
        if not self._left.is_set():
            self._peer_died(peer, "has died: its connection broke")

    async def _beat(self) -> None:
        """Counts its own beats, not seconds, so that no peer seems silent after a pause of this machine."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for peer in self._peers:
                if peer.silent >= SILENT_BEATS:
                    self._peer_died(peer, f"has not been heard from for {SILENT_BEATS * BEAT_SECONDS:.0f} s")
                peer.silent += 1
                peer.send(self._own_beat())

    def _own_beat(self) -> dict[str, Any]:
        return {"token": self._token, "rank": self.ranks.rank, "host": socket.gethostname(), "pid": os.getpid(),
                **self._position()}

    def _leave(self, farewell: dict[str, Any]) -> None:
        for peer in self._peers:
            peer.send({**self._own_beat(), **farewell})
        self._left.set()

    def _peer_died(self, peer: _Peer, what: str) -> None:
        """Ends this process because a peer died; rank 0 first tells the other ranks, which end too."""
        beat = peer.beat
        place = f" (process {beat['pid']} on {beat['host']})" if beat else ""
        last = f"; it was last in phase {beat['phase']}" if "phase" in beat else ""
        if "images" in beat:
            last += f" at {beat['images']:,} images"
        reason = f"rank {beat.get('rank', 0)}{place} {what}{last}"
        for other in self._peers:
            if other is not peer:
                other.send({**self._own_beat(), "reason": reason})
        self._end(reason)

    def _end(self, reason: str) -> None:
        here = {"rank": self.ranks.rank, "host": socket.gethostname(), "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "reason": reason, **self._position()}
        if self._folder is not None:
            with contextlib.suppress(OSError):
                folder = self._folder / "last_phase"
                folder.mkdir(exist_ok=True)
                write_whole(folder / f"{self.ranks.rank}.json", json.dumps(here, indent=1))
        print(f"scalegan: error: rank {self.ranks.rank} stops: {reason}. Run the same command again to resume from the "
              "last checkpoint", file=sys.stderr, flush=True)
        os._exit(1)  # the main thread may be stuck in a collective


def _listener(peers: int) -> socket.socket:
    """Listens on every address of this host, on any free port, with the open-file limit raised by `peers`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = soft + peers if hard == resource.RLIM_INFINITY else min(soft + peers, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))

