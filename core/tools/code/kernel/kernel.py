"""The program in the sandbox: runs Python for one conversation, request by request.

It is started as `core/tools/code/sandbox/sandbox.py` says. Requests come as JSON lines on
stdin, frames go as JSON lines to the descriptor of the first argument, and what user code prints
goes to stdout, where a mark after each run says that nothing of that run follows.

    {"file": name, "data": base64}            put a file into the work folder
    {"run": id, "code": text, "zone": name}   run it in that time zone
    {"interrupt": id}                         raise KeyboardInterrupt in that run

    {"ready": true}                           once, before any request is read
    {"file": name, "data": base64}            a new or changed file, or a picture
    {"left": name, "why": word}               one that was not taken: "large", "many", "full";
                                              or was not put: "unput"
    {"done": id, "value": text, "error": text}

User code shares this process and can do with it what it likes: it can forge frames and break what
comes after it. Who reads the frames must trust none of them; what is done here against broken
builtins only keeps honest mistakes from ending the conversation's state. Nothing but the standard
library is imported before user code asks for it.
"""

from __future__ import annotations

import _thread
import ast
import base64
import builtins
import contextlib
import importlib
import io
import json
import linecache
import os
import queue
import resource
import signal
import stat
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator

KERNEL_MAX_OUTPUT_FILES = 20
KERNEL_MAX_OUTPUT_FILE_BYTES, KERNEL_MAX_OUTPUT_BYTES = 8 << 20, 32 << 20
"""What one run may hand out: files, bytes of one, bytes of all."""
VALUE_CHARS, ERROR_CHARS = 20_000, 8_000
"""Characters of a run's value, and of its error, that are returned."""
CPU_SECONDS = 60
"""Processor time that one run and what it leaves running may take, over all threads."""
MAX_FILES_SEEN = 10_000
"""Entries of the work folder that are looked at."""
_INTERRUPT_INTERVAL_SECONDS = 0.01
"""Seconds after which an interrupt is repeated that the code has not noticed."""
FIGURES_MODULE = "ponte_figures"

# User code that changes builtins changes the module's dictionary. Functions look theirs up in the
# one that their globals name when they are made: this copy.
globals()["__builtins__"] = dict(vars(builtins))
_PRISTINE = dict(vars(builtins))
_execute: Callable[..., None] = _PRISTINE["exec"]
_evaluate: Callable[..., object] = _PRISTINE["eval"]

Frame = dict[str, object]
Stamp = tuple[int, int, int]


class Frames:
    """Writes what the kernel reports to the bot as frames (JSON, one a line) to a pipe of its own,
    and marks the end of each run in the output."""

    def __init__(self, pipe: int, output: int) -> None:
        self._pipe = pipe
        self._output = output
        self._write = os.write
        self._restore = os.dup2

    def send(self, frame: Frame) -> None:
        plain = {key: _replace_surrogates(value) for key, value in frame.items()}
        self._write_all(self._pipe, json.dumps(plain).encode() + b"\n")

    def mark(self, run: str) -> None:
        self._write_all(self._output, f"\0{run}\0".encode())

    def restore_output(self) -> None:
        """The person's code may have closed or replaced stdout and stderr."""
        for handle in (1, 2):
            self._restore(self._output, handle)

    def _write_all(self, pipe: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._write(pipe, rest) :]


class WorkFolder:
    """The folder in which user code works, with a record of the files that were seen before."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: dict[str, Stamp] = {}

    def put(self, name: str, data: bytes) -> bool:
        """Return False if it does not fit, or if its name is a link or a folder. It counts as seen,
        so that it is not sent back as a file that the code has made."""
        path = os.path.join(self.path, os.path.basename(name))
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False
        try:
            with open(handle, "wb") as out:
                out.write(data)
            self._seen[path] = _stamp(os.stat(path))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # half a file is none
            return False
        return True

    def list_changed(self) -> Iterator[tuple[str, str]]:
        """Yield name and path of each regular file that is new or changed since the last call: the
        files that a run made. A file in a folder is named by its whole path, with underscores,
        because files for people have no folders."""
        stamps = {}
        for path in self._walk():
            try:
                entry = os.lstat(path)
            except OSError:  # a thread of the person's has just removed it
                continue
            if stat.S_ISREG(entry.st_mode):
                stamps[path] = _stamp(entry)
        before, self._seen = self._seen, stamps
        for path, stamp in stamps.items():
            if before.get(path) != stamp:
                yield os.path.relpath(path, self.path).replace(os.sep, "_"), path

    def _walk(self) -> Iterator[str]:
        room = MAX_FILES_SEEN
        for folder, folders, files in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
            for name in sorted(files):
                if room and not name.startswith("."):
                    room -= 1
                    yield os.path.join(folder, name)


class OutputSender:
    """Sends the files and figures that one run created to the bot, within limits on their number
    and size."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._count = 0
        self._total = 0

    def send_file(self, name: str, data: bytes) -> None:
        if not self._is_refused(name, len(data)):
            self._count += 1
            self._total += len(data)
            self._frames.send({"file": name, "data": base64.b64encode(data).decode()})

    def send_file_at(self, name: str, path: str) -> None:
        """A file that cannot be opened is skipped."""
        # Not through a link, and not waiting for whoever opens the other end of a fifo.
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # it has just gone, or become a link
            return
        # A thread may still write to it: one byte more than allowed is read, to see that.
        with open(handle, "rb") as file:
            if not self._is_refused(name, os.fstat(handle).st_size):
                self.send_file(name, file.read(KERNEL_MAX_OUTPUT_FILE_BYTES + 1))

    def _is_refused(self, name: str, size: int) -> bool:
        why = "many" if self._count >= KERNEL_MAX_OUTPUT_FILES else ""
        why = why or ("large" if size > KERNEL_MAX_OUTPUT_FILE_BYTES else "")
        why = why or ("full" if self._total + size > KERNEL_MAX_OUTPUT_BYTES else "")
        if why:
            self._frames.send({"left": name, "why": why})
        return bool(why)


class Interpreter:
    """Runs the Python of one conversation inside the sandbox. Variables stay from run to run."""

    def __init__(self, frames: Frames, work: WorkFolder) -> None:
        # The pipe to Ponte.
        self._frames = frames
        self._work = work
        # The module in which code runs, so that its variables stay from run to run.
        self._main = types.ModuleType("__main__")
        # How many runs there were.
        self._count = 0
        self._sources: set[str] = set()
        """Names of the person's code in tracebacks ("<run 3>"). Lines of other files are left
        out."""
        # Both are put back after each run, which may have replaced them: the stream of all output,
        # and the lines of source code for tracebacks.
        self._stream = sys.stdout
        self._lines = linecache.cache
        # The id of the run whose code runs now, of the one that was to be interrupted last, and of
        # the one in which that was raised; "" for none.
        self.running = self.interrupted = self.raised_in = ""
        # Code that imports `__main__` gets the module of the code's variables.
        sys.modules["__main__"] = self._main
        vars(self._main)["display"] = _display

    def run(self, name: str, code: str, zone: str) -> None:
        """Run code and send its results: files and pictures, then the mark that ends its output,
        and last the frame "done", whatever the code does.

        Code of the person also runs while figures are drawn, so these parts can be interrupted and
        fail too. What all runs need, such as the output streams, is restored after the code and
        again after these parts."""
        _allow_cpu()  # this run's share: Linux counts the time of all runs together
        signal.signal(signal.SIGINT, self._on_interrupt)
        value, error = self._run_part(name, lambda: self._interpret(code, zone))
        self._restore_state()
        sender = OutputSender(self._frames)
        for part in (lambda: self._send_files(sender), lambda: self._send_figures(sender)):
            _, broke = self._run_part(name, part)
            error = error or broke
        self._restore_state()
        self._frames.mark(name)
        self._frames.send({"done": name, "value": value, "error": error})

    def _run_part(self, name: str, part: Callable[[], str]) -> tuple[str, str]:
        """Run one part of a run: the code itself, or sending its files and figures, which may call
        the person's code, too. Return its value and its error as text; one is empty, and both if
        the code ends by `sys.exit()`."""
        try:
            self.running = name
            # The interrupt came before this part began, so no signal has reached the code.
            if self.interrupted == name:
                raise KeyboardInterrupt
            return part(), ""
        except SystemExit as leaving:
            return "", f"SystemExit: {leaving.code}" if leaving.code else ""
        except BaseException as error:  # an interrupt too: this process goes on
            return "", self._format_error(error)
        finally:
            self.running = ""

    def _interpret(self, code: str, zone: str) -> str:
        """Return the value of a last line that is an expression, as notebooks do; "" if there is
        none."""
        with contextlib.suppress(Exception):  # an earlier run may have broken these modules
            os.environ["TZ"] = zone
            time.tzset()
        self._count += 1
        source = f"<run {self._count}>"
        self._sources.add(source)
        # So that tracebacks show the lines of the code.
        linecache.cache[source] = (len(code), None, code.splitlines(keepends=True), source)
        tree = ast.parse(code, source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        scope = vars(self._main)
        # `exec` and `eval` as they were at the start: user code may have replaced the builtins.
        _execute(compile(tree, source, "exec"), scope)
        if not isinstance(last, ast.Expr):
            return ""
        value = _evaluate(compile(ast.Expression(last.value), source, "eval"), scope)
        return "" if value is None else _clip(repr(value), VALUE_CHARS)

    def _send_files(self, sender: OutputSender) -> str:
        for name, path in self._work.list_changed():
            sender.send_file_at(name, path)
        return ""

    def _send_figures(self, sender: OutputSender) -> str:
        if "matplotlib.pyplot" in sys.modules:
            figures = importlib.import_module(FIGURES_MODULE)
            for number, picture in enumerate(figures.take_figures(), 1):
                sender.send_file(f"figure-{self._count}-{number}.png", picture)
        return ""

    def _on_interrupt(self, number: int, frame: object) -> None:
        if not self.running or self.raised_in == self.running:
            return
        if self.interrupted == self.running:
            self.raised_in = self.running
        raise KeyboardInterrupt

    def _restore_state(self) -> None:
        """Undo what a run may have changed and all runs need: tracing, builtins, the lines for
        tracebacks, and the streams."""
        sys.settrace(None)
        sys.setprofile(None)
        vars(builtins).clear()
        vars(builtins).update(_PRISTINE)
        linecache.cache = self._lines
        sys.stdout = sys.stderr = self._stream
        self._frames.restore_output()
        try:
            self._stream.flush()
        except (OSError, ValueError):  # closed by user code
            self._stream = sys.stdout = sys.stderr = _stream(1)

    def _format_error(self, error: BaseException) -> str:
        try:
            trace = traceback.TracebackException.from_exception(error)
            self._trim_traceback(trace, set())
            return _clip("".join(trace.format()).rstrip(), ERROR_CHARS)
        except BaseException:  # its own __str__ may raise anything
            return type(error).__name__

    def _trim_traceback(self, node: traceback.TracebackException | None, ids: set[int]) -> None:
        """Remove all lines of a traceback but those of the person's code, also in the errors that
        caused this one. `ids` are the errors that were seen: they can refer to each other."""
        if node is None or id(node) in ids:
            return
        ids.add(id(node))
        node.stack[:] = [line for line in node.stack if line.filename in self._sources]
        for other in (node.__cause__, node.__context__, *(getattr(node, "exceptions", None) or ())):
            self._trim_traceback(other, ids)


def _display(*values: object) -> None:
    # Notebooks have this function, and models write it from habit.
    for value in values:
        sys.stdout.write(f"{value if isinstance(value, str) else repr(value)}\n")


def _stamp(entry: os.stat_result) -> Stamp:
    return entry.st_ino, entry.st_size, entry.st_mtime_ns


def _replace_surrogates(value: object) -> object:
    # Names of files may contain halves of surrogate pairs (PEP 383).
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _clip(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def _stream(handle: int) -> io.TextIOWrapper:
    return open(handle, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _allow_cpu() -> None:
    """Raise the limit of processor time for the next run. Linux ends a process that uses more
    (setrlimit(2))."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _listen(pipe: int, requests: queue.SimpleQueue[Frame | None], running: Interpreter) -> None:
    """Queue the bot's requests for the main thread, and interrupt the code there. This needs a
    thread of its own, because the main thread is busy with user code. None in the queue: the bot
    has closed the pipe."""
    main = threading.main_thread().ident or 0
    with open(pipe, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            if "interrupt" not in request:
                requests.put(request)
                continue
            name = running.interrupted = str(request["interrupt"])
            # Repeated until the code has raised KeyboardInterrupt (`raised_in`): a signal between
            # the last check for signals and the start of a wait, as in time.sleep, does not end
            # the wait.
            while running.running == name != running.raised_in:
                _interrupt(main)
                time.sleep(_INTERRUPT_INTERVAL_SECONDS)
    requests.put(None)


def _interrupt(thread: int) -> None:
    try:
        signal.pthread_kill(thread, signal.SIGINT)  # wakes it from time.sleep too
    except OSError:  # the sandbox refuses signals
        _thread.interrupt_main()


def _prepare_matplotlib() -> None:
    """Let matplotlib find the list of fonts that was made when the libraries were installed,
    because making it takes seconds.

    matplotlib writes into the folder of that list, which only the installation may change. So it
    gets a folder of its own with links to the files. Files in the work folder would be sent to the
    person.
    """
    # This file runs inside the sandbox, where `bot.settings` does not exist. The sandbox itself
    # sets these variables; they are not settings of a person.
    folder = os.path.join(os.environ["TMPDIR"], "matplotlib")
    ready = os.path.join(sys.prefix, "matplotlib")
    if os.path.isdir(ready):
        os.mkdir(folder)
        for name in os.listdir(ready):
            os.symlink(os.path.join(ready, name), os.path.join(folder, name))
        os.environ["MPLCONFIGDIR"] = folder
        os.environ["MPLBACKEND"] = f"module://{FIGURES_MODULE}"


def _own(handle: int) -> int:
    """Return a copy of the descriptor `handle` that user code does not know. If it is stdin (0),
    user code gets an empty one in its place, so that `input()` does not take the bot's requests."""
    duplicate = os.dup(handle)
    if handle == 0:
        ended, writing = os.pipe()
        os.close(writing)
        os.dup2(ended, 0)
        os.close(ended)
    return duplicate


def _hide_modules() -> None:
    # User code that imports one of them gets a new copy, and cannot change the one that this
    # program uses.
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in ("ast", "base64", "json", "queue", "traceback"):
            del sys.modules[loaded]


def main() -> None:
    """Answer requests until their pipe is closed. A thread (`_listen`) reads them, and hands them
    over by the queue `waiting`. "run" runs code, "file" puts a file into the work folder."""
    # User code runs in this process too and may change whatever it imports.
    _hide_modules()
    _prepare_matplotlib()
    # From here on, requests and output have descriptors that user code does not know.
    requests, work = _own(0), WorkFolder(os.getcwd())
    frames = Frames(int(sys.argv[1]), _own(1))
    # One stream for both, so that errors and output come in the order in which they were written.
    sys.stdout = sys.stderr = _stream(1)
    interpreter = Interpreter(frames, work)
    waiting: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
    # An interrupt must be read while the main thread runs user code.
    threading.Thread(target=_listen, args=(requests, waiting, interpreter), daemon=True).start()
    frames.send({"ready": True})
    while (request := waiting.get()) is not None:
        if "run" in request:
            interpreter.run(*(str(request[name]) for name in ("run", "code", "zone")))
        elif not work.put(name := str(request["file"]), base64.b64decode(str(request["data"]))):
            # "unput": the file could not be put into the work folder, as when the disk is full.
            frames.send({"left": name, "why": "unput"})


if __name__ == "__main__":
    main()
