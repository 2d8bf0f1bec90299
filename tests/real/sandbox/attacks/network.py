"""Reaching anything over a network, or another process of the machine."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)
SOCKET = 41 if platform.machine() == "x86_64" else 198


def every_family(outside: Outside) -> str:
    results = []
    for family in range(46):
        for kind in (1, 2, 3, 5):
            file = libc.socket(family, kind, 0)
            if file >= 0:
                results.append((family, kind))
                os.close(file)
    return f"made {results}" if results else ""


def to_this_machine_by_6(outside: Outside) -> str:
    with socket.socket(socket.AF_INET6) as six:
        six.connect(("::ffff:127.0.0.1", outside["port"]))
    return "connected to a server of this machine"


def to_cloud_metadata(outside: Outside) -> str:
    with socket.socket() as four:
        four.settimeout(0.2)
        four.connect(("169.254.169.254", 80))
    return "reached the cloud's metadata"


def datagram(outside: Outside) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        four.sendto(b"secret", ("127.0.0.1", outside["port"]))
    return "sent a datagram"


def web(outside: Outside) -> str:
    with urllib.request.urlopen("http://127.0.0.1:" + str(outside["port"]), timeout=0.5):
        return "fetched a page"


def by_socket_file(outside: Outside) -> str:
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(outside["folder"] + "/socket")
    return "connected to a socket file"


def by_abstract_name(outside: Outside) -> str:
    with socket.socket(socket.AF_UNIX) as local:
        local.connect("\0ponte-attack-" + str(outside["port"]))
    return "connected to an abstract name"


def pair(outside: Outside) -> str:
    """Its ends can be connected elsewhere afterwards."""
    socket.socketpair()
    return "made a pair of sockets"


def find_inherited_socket(outside: Outside) -> str:
    for number in range(256):
        try:
            socket.socket(fileno=number).getpeername()
        except OSError:
            continue
        return f"{number} is a socket"
    return ""


def by_queue_of_kernel(outside: Outside) -> str:
    parameters = ctypes.create_string_buffer(120)
    return "has an io_uring" if libc.syscall(425, 8, parameters) >= 0 else ""


def message_queue(outside: Outside) -> str:
    number = 240 if SOCKET == 41 else 180
    result = libc.syscall(number, b"ponte", os.O_CREAT | os.O_RDWR, 0o600, None)
    return "made a message queue" if result >= 0 else ""


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "socket_by_number": lambda outside: (
        "made a socket" if libc.syscall(SOCKET, 2, 1, 0) >= 0 else ""
    ),
    "names": lambda outside: f"resolved {socket.getaddrinfo('example.com', 80)}",
    "old_message_queue": lambda outside: (
        "made a message queue" if libc.msgget(0, 0o1600) >= 0 else ""
    ),
    "old_semaphores": lambda outside: "made semaphores" if libc.semget(0, 1, 0o1600) >= 0 else "",
}
CALLS: dict[str, tuple[str, Callable[[Outside], object]]] = {
    "raw_packets": (
        "reads the network",
        lambda outside: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300),
    ),
    "kernel_messages": (
        "talks to the kernel",
        lambda outside: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    ),
    "to_this_machine": (
        "connected to a server of this machine",
        lambda outside: socket.create_connection(("127.0.0.1", outside["port"]), 1).close(),
    ),
    "to_this_machine_by_name": (
        "connected to a server of this machine",
        lambda outside: socket.create_connection(("localhost", outside["port"]), 1).close(),
    ),
    "serve": ("serves", lambda outside: socket.create_server(("127.0.0.1", 0)).close()),
}
"""Calls, with what was done if they return."""
