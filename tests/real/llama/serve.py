"""Runs llama.cpp's server until its standard input ends. `server.py` starts it as a process.

Prints its URL once the model is loaded. Arguments: the model's file, the API key, the tokens of
context, and "jinja" if the server takes tools.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import xllamacpp

TEMPLATE = Path(__file__).with_name("template.jinja")
"""The model's own chat template has no tools, and the server then leaves them out of the prompt."""


def read_options(model: str, key: str, context_tokens: int, *, takes_tools: bool) -> Any:
    options = xllamacpp.CommonParams()
    options.model.path = model
    options.model_alias = {"smollm2"}
    options.hostnames, options.port = ["127.0.0.1"], 0
    options.api_keys = [key]
    options.n_ctx, options.n_parallel = context_tokens, 1
    # An answer does not end where the context is full, so that only a client can stop it.
    options.ctx_shift = True
    options.use_jinja = takes_tools
    if takes_tools:
        options.chat_template = TEMPLATE.read_text("utf-8")
    options.sampling.temp = 0.0
    options.endpoint_slots = True
    options.ui, options.warmup, options.cache_ram_mib = False, False, 0
    # More threads, or threads that poll, take many times as long beside other processes.
    for threads in (options.cpuparams, options.cpuparams_batch):
        threads.n_threads, threads.poll = 1, 0
    return options


def main() -> None:
    model, key, context_tokens, *jinja = sys.argv[1:]
    options = read_options(model, key, int(context_tokens), takes_tools=bool(jinja))
    server = xllamacpp.Server(options)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # its destructor waits for an answer under way


if __name__ == "__main__":
    main()
