"""One seeded NocoDB for all test processes of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.real.nocodb import server
from tests.real.nocodb.seed import Base, Seeded, seed_server
from tests.real.shared import share_server


@contextmanager
def shared_nocodb(folder: Path) -> Iterator[Seeded]:
    """Yield the server of all processes that pass the same `folder`. It deletes its data in the
    end."""
    with share_server(folder, "nocodb", _start) as description:
        fields = json.loads(description)
        yield Seeded(**{**fields, "crm": Base(**fields["crm"])})


def _start(pipe: int) -> str:
    data = server.make_folder_in_memory()
    return json.dumps(asdict(seed_server(server.start_detached(data, pipe), data)))
