"""Created rows whose answer was lost: found again by what was written, among the newest."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from core.proposal import RowWrite
from core.tools.nocodb.writing.images import Image
from core.tools.nocodb.writing.standing import values_alike


def looked_for(
    newest: Mapping[str, Image], rows: Sequence[RowWrite], links: Collection[str]
) -> Sequence[RowWrite]:
    """Each with its id where it was found. `newest` are rows by id.

    A row's mark holds the ids of the rows that were like it before it was written; one that has
    come since is it. Without a mark it has not been written yet, and is given one.
    """
    taken = {row.id for row in rows if row.id}
    told: list[RowWrite] = []
    for row in rows:
        likes = [id for id, one in newest.items() if values_alike(row.after or {}, one, links)]
        if row.id:
            told.append(row)
        elif not row.mark:
            told.append(replace(row, mark=json.dumps(likes)))
        else:
            known = {*json.loads(row.mark), *taken}
            found = next((id for id in reversed(likes) if id not in known), "")
            taken.add(found)
            told.append(replace(row, id=found))
    return told
