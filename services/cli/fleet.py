"""The four processes that make a homepage on one machine: their addresses, their environment, their readiness."""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.launcher import Command, Launcher

SERVICES = ("ranker", "profile", "retrieval", "orchestrator")
"""In the order of starting: whoever is called comes before its callers. They are stopped the other way round."""
HOST = "127.0.0.1"
START_LIMIT_S = 180.0
POLL_S = 0.1
_DEFAULT_PORTS = {"orchestrator": 50051, "profile": 50052, "retrieval": 50053, "ranker": 50054}
_ADMIN_OFFSET = 10
_METRICS_OFFSET = 9461 - 50051
_STORED = ("profile", "retrieval")
_CALLED = {"orchestrator": ("profile", "retrieval", "ranker"), "retrieval": ("profile", "ranker")}
"""Which services each one calls."""


class StartError(RuntimeError):
    """The set could not be started; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process and where it listens, `host:port` each."""

    name: str
    address: str
    admin_address: str
    metrics_address: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The four members, in the order of SERVICES."""

    members: tuple[Member, ...]

    def member(self, name: str) -> Member:
        """The member of that name."""
        return next(member for member in self.members if member.name == name)

    def address(self, name: str) -> str:
        """Where the service of that name is called."""
        return self.member(name).address


def default_fleet() -> Fleet:
    """The set on the ports that the documentation names."""
    return Fleet(tuple(_member(name, *_default_ports(name)) for name in SERVICES))


def free_fleet() -> Fleet:
    """The set on twelve ports that nobody uses at this moment."""
    with ExitStack() as held:  # all held at once, or the system would give one port out twice
        sockets = [held.enter_context(socket.socket()) for _ in range(3 * len(SERVICES))]
        for one in sockets:
            one.bind((HOST, 0))
        ports = [one.getsockname()[1] for one in sockets]
    return Fleet(tuple(_member(name, *ports[3 * i : 3 * i + 3]) for i, name in enumerate(SERVICES)))


def taken_addresses(fleet: Fleet) -> tuple[str, ...]:
    """The addresses of the set at which something listens already."""
    addresses = [a for m in fleet.members for a in (m.address, m.admin_address, m.metrics_address)]
    return tuple(address for address in addresses if _is_taken(address))


def few(addresses: Sequence[str]) -> str:
    """The first of the addresses in words, e.g. "127.0.0.1:50051 and 11 more"."""
    return f"{addresses[0]} and {len(addresses) - 1} more" if len(addresses) > 1 else addresses[0]


def commands(fleet: Fleet, data_dir: Path, *, own_stores: bool, registry: Path | None = None) -> tuple[Command, ...]:
    """What to run for the set. Stores lie in `data_dir`.

    Unless `own_stores`, a store that the environment names wins over that. What `registry` says serves must be loaded.
    """
    models = {}
    if registry is not None:
        models = {"HOMEPAGE_RANKER_REGISTRY": str(registry), "HOMEPAGE_RANKER_REQUIRE_MODELS": "true"}
    return tuple(
        Command(
            member.name,
            (sys.executable, "-m", f"services.{member.name}"),
            {**_environment(fleet, member, data_dir, own_stores), **(models if member.name == "ranker" else {})},
        )
        for member in fleet.members
    )


def wait_until_serving(fleet: Fleet, launcher: Launcher, on_ready: Callable[[str], None]) -> None:
    """Returns when every member says SERVING on its admin port; tells each one's name as it does.

    Raises:
        ChildDiedError: when a process ends meanwhile.
        StartError: after START_LIMIT_S.
    """
    ends = time.monotonic() + START_LIMIT_S
    waiting = list(fleet.members)
    with ExitStack() as stack:
        stubs = {
            m.name: health_pb2_grpc.HealthStub(stack.enter_context(open_sync_channel(m.admin_address))) for m in waiting
        }
        while waiting:
            launcher.check()
            for member in [member for member in waiting if _is_serving(stubs[member.name])]:
                waiting.remove(member)
                on_ready(member.name)
            if waiting and time.monotonic() > ends:
                names = ", ".join(member.name for member in waiting)
                raise StartError(f"not ready after {START_LIMIT_S:.0f} s: {names}")
            time.sleep(POLL_S if waiting else 0)


def open_sync_channel(address: str) -> grpc.Channel:
    """A plain channel that tries again soon when the server is not there yet; close it when done."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.max_receive_message_length", 16 * 2**20),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def _member(name: str, port: int, admin_port: int, metrics_port: int) -> Member:
    return Member(name, f"{HOST}:{port}", f"{HOST}:{admin_port}", f"{HOST}:{metrics_port}")


def _default_ports(name: str) -> tuple[int, int, int]:
    port = _DEFAULT_PORTS[name]
    return port, port + _ADMIN_OFFSET, port + _METRICS_OFFSET


def _is_taken(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return True
    return False


def _environment(fleet: Fleet, member: Member, data_dir: Path, own_stores: bool) -> Mapping[str, str]:
    prefix = f"HOMEPAGE_{member.name.upper()}_"
    addresses = {
        "LISTEN": member.address,
        "ADMIN_LISTEN": member.admin_address,
        "METRICS_LISTEN": member.metrics_address,
        **{f"{name.upper()}_ADDRESS": fleet.address(name) for name in _CALLED.get(member.name, ())},
    }
    environment = {prefix + field: value for field, value in addresses.items()}
    database = prefix + "DATABASE"
    if member.name in _STORED and (own_stores or database not in os.environ):
        environment[database] = str(data_dir / f"{member.name}.db")
        if own_stores:
            environment[prefix + "STORE"] = "sqlite"
    # Spinning OpenMP threads steal the core from the other three processes of a small machine.
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    if "HOMEPAGE_RANKER_MODEL" not in os.environ:
        environment["HF_HUB_OFFLINE"] = "1"  # the packaged model needs no look at the hub
    return environment


def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
