"""Every benchmark, one after the other: `make bench`."""

from __future__ import annotations

import asyncio

from benchmarks import engine, model, startup

if __name__ == "__main__":
    asyncio.run(engine.main())
    startup.main()
    asyncio.run(model.main())
