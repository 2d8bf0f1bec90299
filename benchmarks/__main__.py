"""Every benchmark, one after the other: `make bench`."""

from __future__ import annotations

import asyncio

from benchmarks import (
    answers,
    code,
    discord,
    engine,
    everything,
    fairness,
    first_word,
    model,
    nocodb,
    rights,
    slack,
    startup,
    watching,
)

if __name__ == "__main__":
    asyncio.run(engine.main())
    startup.main()
    asyncio.run(rights.main())
    asyncio.run(watching.main())
    asyncio.run(model.main())
    asyncio.run(answers.main())
    asyncio.run(code.main())
    asyncio.run(nocodb.main())
    asyncio.run(slack.main(quick=False))
    asyncio.run(discord.main(quick=False))
    asyncio.run(fairness.main())
    asyncio.run(everything.main())
    asyncio.run(first_word.main())
