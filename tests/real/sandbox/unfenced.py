"""A control: the harmless attacks, without a sandbox, each of which must then succeed.

In a PID namespace of its own and as nobody, like the rest; what could do harm is not among them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Literal

from core.tools.code.sandbox.process import ProgramEnds, RunningProgram, launch
from core.tools.code.sandbox.sandbox import MiB, SandboxLimits
from tests.real.sandbox.attacks import files, memory, network, processes, secrets, system
from tests.real.sandbox.driver import batch
from tests.real.sandbox.scenery import scenery

PLAIN = """
import os, runpy, sys
kernel, frames, life = sys.argv[1:]
os.write(int(life), b"1")
sys.argv = [kernel, frames]
runpy.run_path(kernel, run_name="__main__")
"""
LIMITS = SandboxLimits(memory=64 * MiB)
"""So much memory is taken where nothing forbids it."""

HARMLESS = {
    secrets: (
        "bot_environment", "every_environment", "every_command_line", "bot_memory", "root_of_bot",
        "files_of_bot", "own_root", "passwords", "file_of_all", "file_by_dots",
        "file_by_symbolic_link", "file_by_hard_link", "file_by_descriptor", "folders_of_others",
        "watching_files",
    ),
    files: (
        "write_outside", "symbolic_link_outside", "folder_outside", "link_outside", "named_pipe",
        "set_user_bit", "move_outside", "rename_outside", "locked_folder",
    ),
    processes: (
        "fork", "fork_by_number", "clone_new_process", "clone_by_structure", "run_program",
        "run_shell", "run_by_spawn", "run_worker", "signal_to_bot", "signal_by_thread",
        "signal_by_file", "descriptor_of_bot", "outlive_bot", "become_undumpable",
        "choose_signal_of_file",
    ),
    network: (
        "every_family", "socket_by_number", "to_this_machine", "datagram", "serve",
        "by_socket_file", "by_abstract_name", "pair", "old_message_queue", "old_semaphores",
    ),
    memory: (
        "one_large", "one_large_map", "unreserved_map", "shared_map", "many_pieces", "text",
        "by_growing", "by_stacks", "by_memory_file", "by_old_shared_memory", "by_locks",
        "by_locks_of_files", "by_timers", "open_files_of_threads", "many_files_at_once",
        "one_file_reserved_beyond_its_size",
    ),
    system: ("personality", "another_ruleset", "splice_pages", "read_ahead_of_time"),
}  # fmt: skip


class Unfenced:
    name: Literal["landlock"] = "landlock"

    async def start(
        self, kernel: Path, python: Path, limits: SandboxLimits | None = None
    ) -> RunningProgram:
        def command(ends: ProgramEnds) -> list[str]:
            descriptors = (str(ends.frames), str(ends.life))
            return [str(python), "-I", "-B", "-u", "-c", PLAIN, str(kernel), *descriptors]

        environment = {"HOME": os.getcwd(), "TMPDIR": os.getcwd()}
        return await launch(command, environment=environment, folder=Path.cwd(), user=None)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python", type=Path)
    python = parser.parse_args().python
    results: dict[str, str] = {}
    async with scenery(python, LIMITS) as ctx:
        for module, names in HARMLESS.items():
            results |= await batch(Unfenced(), python, module, names, ctx)
    print(json.dumps(results))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        asyncio.run(main())
