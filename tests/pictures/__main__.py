"""Takes the pictures of the documents anew: python -m tests.pictures [SCENE …].

Each goes into docs/screenshots, and beside it in tests/pictures/taken what is to be read in it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.pictures.camera import camera, missing_fonts
from tests.pictures.record import FOLDER, keep
from tests.pictures.scenes import play_scenes
from tests.pictures.studio import studio


async def main(*scenes: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with studio(Path(folder)) as result, camera() as taking:
            async for picture in play_scenes(result, taking, *scenes):
                data = picture.taken or await taking.draw(picture.drawing, picture.files)
                keep(picture.name, picture.drawing, data)
                sys.stdout.write(f"{FOLDER / picture.name}.webp  {len(data) // 1000} kB\n")
                sys.stdout.flush()


if __name__ == "__main__":
    if packages := missing_fonts():
        sys.exit(f"Fonts are missing: apt-get install {' '.join(packages)}")
    asyncio.run(main(*sys.argv[1:]))
