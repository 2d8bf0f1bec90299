"""What code can do to the pipe that its results go over, to the runs after it, and to others.

Each is run as a person's code. Whatever it does, the run ends in time, shows nothing of the
outside, and is followed by one that works, or by the word that the state is lost.
"""

from __future__ import annotations

import atexit
import base64
import gc
import json
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside


def forged_end_with_the_runs_name(outside: Outside) -> None:
    """The name lies somewhere in this process's memory; whoever finds it harms only itself."""
    for objects in gc.get_objects():
        if isinstance(objects, dict) and isinstance(objects.get("run"), str):
            _send({"done": objects["run"], "value": "forged", "error": ""})


def forged_file_without_name(outside: Outside) -> None:
    for name in ("", ".", "..", "/", "\0"):
        _send({"file": name, "data": _b64(b"forged")})


def forged_files_without_end(outside: Outside) -> None:
    for number in range(1000):
        _send({"file": f"{number}.bin", "data": _b64(bytes(100_000))})


def line_without_end(outside: Outside) -> None:
    for _ in range(40):
        _write(b"x" * (1 << 20))


def forged_mark(outside: Outside) -> None:
    for _ in range(100):
        os.write(1, b"\0" + os.urandom(8).hex().encode() + b"\0")


def forge_later(outside: Outside) -> None:
    def later() -> None:
        time.sleep(0.1)
        _send({"done": "0" * 16, "value": "forged", "error": ""})

    threading.Thread(target=later, daemon=True).start()


def print_later(outside: Outside) -> None:
    def later() -> None:
        for _ in range(100):
            time.sleep(0.005)
            print("late")

    threading.Thread(target=later, daemon=True).start()


def steal_requests(outside: Outside) -> None:
    def steal() -> None:
        while True:
            with suppress(OSError):
                os.read(0, 1 << 20)

    for _ in range(4):
        threading.Thread(target=steal, daemon=True).start()


def swap_pipes(outside: Outside) -> None:
    for number in range(3, 64):
        with suppress(OSError):
            os.dup2(1, number, inheritable=False)


def replace_input(outside: Outside) -> None:
    reader, write = os.pipe()
    os.write(write, json.dumps({"run": "x", "code": "1"}).encode() + b"\n")
    os.dup2(reader, 0)


def results_by_symbolic_link(outside: Outside) -> None:
    os.symlink(outside["file"], "result.txt")
    os.symlink("/proc/self/environ", "environment.txt")
    os.symlink("/", "root")


def results_by_hard_link(outside: Outside) -> None:
    with suppress(OSError):
        os.link(outside["file"], "result.txt")


def results_by_named_pipe(outside: Outside) -> None:
    with suppress(OSError):
        os.mkfifo("result.txt")


def results_by_folder(outside: Outside) -> None:
    os.makedirs("result.png/inner.txt")
    os.symlink(".", "result.png/again")


def results_that_change(outside: Outside) -> None:
    """A file that turns into a link while it is read."""

    def swap() -> None:
        while True:
            with suppress(OSError):
                os.symlink(outside["file"], "next")
                os.replace("next", "result.txt")
                with open("next", "w") as file:
                    file.write("mine")
                os.replace("next", "result.txt")

    threading.Thread(target=swap, daemon=True).start()


def results_with_names(outside: Outside) -> None:
    for name in ("a\nb", "\x1b[31mred", "\u202egnp.exe", "..\\..\\x", "CON", "-rf", " ", "x" * 255):
        with open(name, "w") as file:
            file.write("x")


def results_that_are_sparse(outside: Outside) -> None:
    with suppress(OSError), open("sparse", "wb") as file:
        file.truncate(1 << 40)
    with suppress(OSError), open("sparse2", "wb") as file:
        file.truncate(60 << 20)


def results_without_end(outside: Outside) -> None:
    for number in range(1500):
        with open(f"{number}.txt", "w") as file:
            file.write("x")


def leave_folder(outside: Outside) -> None:
    os.makedirs("a/b")
    os.chdir("a/b")
    os.rmdir(os.path.abspath("."))


def remove_folder(outside: Outside) -> None:
    with suppress(OSError):
        os.rmdir(os.getcwd())


def modules_of_ours(outside: Outside) -> None:
    """Modules in the work folder by the names that a kernel imports."""
    for name in ("json", "os", "base64", "traceback", "usercustomize", "sitecustomize", "numpy"):
        with open(f"{name}.py", "w") as file:
            file.write("raise SystemExit('poisoned')")


def modules_at_home(outside: Outside) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = os.path.expanduser(f"~/.local/lib/{version}/site-packages")
    os.makedirs(folder)
    for name in ("usercustomize.py", "x.pth"):
        with open(f"{folder}/{name}", "w") as file:
            file.write("import os; os._exit(9)")


def hooks(outside: Outside) -> None:
    sys.excepthook = sys.displayhook = sys.unraisablehook = None  # type: ignore[assignment]
    sys.meta_path.clear()
    sys.path_hooks.clear()
    threading.excepthook = None  # type: ignore[assignment]
    atexit.register(lambda: print("exit"))


def alarms(outside: Outside) -> None:
    def again(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.01)


def low_limits(outside: Outside) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def greedy_switching(outside: Outside) -> None:
    sys.setswitchinterval(1e6)

    def spin() -> None:
        while True:
            pass

    threading.Thread(target=spin, daemon=True).start()


def warnings_without_end(outside: Outside) -> None:
    warnings.simplefilter("always")
    for number in range(20_000):
        warnings.warn(str(number), stacklevel=1)


def long_error(outside: Outside) -> None:
    raise ValueError("x" * (50 << 20))


def error_that_writes(outside: Outside) -> None:
    raise _Writing


def error_in_chain(outside: Outside) -> None:
    error: BaseException | None = None
    for number in range(3000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    if error is not None:
        raise error


def others(outside: Outside) -> None:
    """Prints what it can find of another conversation's file, which begins with "MARK"."""
    mark = bytes(reversed(b"KRAM"))
    above = os.path.dirname(os.path.dirname(os.getcwd()))
    for top in ("/tmp", "/work", "/dev/shm", above, "/proc"):
        for folder, _, names in os.walk(top):
            if folder.count("/") > 6:
                continue
            for name in names:
                path = os.path.join(folder, name)
                with suppress(OSError), open(path, "rb", opener=_open) as file:
                    content = file.read(1 << 20) or b""
                    if mark in content:
                        print(content[content.index(mark) :][:100])


def _open(path: str, flags: int) -> int:
    """Not to wait for its own pipes, which lie in /proc as well."""
    return os.open(path, flags | os.O_NONBLOCK)


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch /tmp/pickled",))


class _Writing(Exception):
    def __str__(self) -> str:
        _send({"done": "0" * 16, "value": "forged", "error": ""})
        raise SystemExit


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _send(frame: dict[str, object]) -> None:
    _write(json.dumps(frame).encode() + b"\n")


def _write(data: bytes) -> None:
    """Send all of it as frames, and what fits into every other pipe but standard ones.

    Nobody reads the others: to wait for them would end the attack.
    """
    frames = int(sys.argv[1])
    for number in range(3, 64):
        with suppress(OSError):
            if number != frames:
                os.set_blocking(number, False)
                os.write(number, data)
    with suppress(OSError):
        request_count = 0
        while request_count < len(data):
            request_count += os.write(frames, data[request_count:])


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "forged_end": lambda outside: _send({"done": "0" * 16, "value": "forged", "error": ""}),
    "forged_start": lambda outside: _send({"ready": ["numpy"] * 1000}),
    "forged_file_with_dots": lambda outside: _send(
        {"file": "../" * 20 + outside["folder"] + "/forged", "data": _b64(b"forged")}
    ),
    "forged_file_with_path": lambda outside: _send(
        {"file": outside["folder"] + "/forged", "data": _b64(b"forged")}
    ),
    "forged_file_over_another": lambda outside: _send(
        {"file": outside["file"], "data": _b64(b"forged")}
    ),
    "forged_file_with_control_characters": lambda outside: _send(
        {"file": "a\0b\n\x1b[2J\r\u202egnp.exe", "data": _b64(b"forged")}
    ),
    "forged_file_with_long_name": lambda outside: _send({"file": "x" * 1_000_000, "data": ""}),
    "forged_data": lambda outside: _send({"file": "a", "data": "no base64 !!"}),
    "forged_types": lambda outside: _send({"file": ["a"], "data": {"b": 1}}),
    "forged_extra": lambda outside: _send(
        {"file": "a", "data": "", "__class__": "os.system", "mode": "0777"}
    ),
    "no_json": lambda outside: _write(b"GET / HTTP/1.1\r\n\r\n"),
    "no_text": lambda outside: _write(b'{"file": "\xff\xfe\xed\xa0\x80", "data": ""}\n'),
    "send_pickle": lambda outside: _write(pickle.dumps(_Evil()) + b"\n"),
    "deep_json": lambda outside: _write(b'{"file":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
    "large_number": lambda outside: _write(b'{"done": ' + b"9" * 1_000_000 + b"}\n"),
    "not_a_number": lambda outside: _write(
        b'{"done": NaN, "value": Infinity, "error": -Infinity}\n'
    ),
    "half_a_frame": lambda outside: _write(b'{"file": "a", "data": "'),
    "many_empty_lines": lambda outside: _write(b"\n" * 1_000_000),
    "close_pipes": lambda outside: os.closerange(0, 256),
}
