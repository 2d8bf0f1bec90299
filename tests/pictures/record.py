"""What is kept of a picture: the picture, and beside it what is to be read there and its digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "screenshots"
RECORDS = Path(__file__).parent / "taken"


def keep(name: str, drawing: Json, data: bytes) -> None:
    (FOLDER / f"{name}.webp").write_bytes(data)
    fixtures = {"sha256": hashlib.sha256(data).hexdigest(), "drawing": drawing}
    text = json.dumps(fixtures, ensure_ascii=False, indent=1)
    (RECORDS / f"{name}.json").write_text(text + "\n", "utf-8")


def record(name: str) -> Json:
    data: Json = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
    return data


def names() -> list[str]:
    return sorted(path.stem for path in RECORDS.glob("*.json"))


def digest(name: str) -> str:
    return hashlib.sha256((FOLDER / f"{name}.webp").read_bytes()).hexdigest()
