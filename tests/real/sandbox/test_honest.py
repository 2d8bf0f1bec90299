"""What people ask for has to work: on both sandboxes, with nothing but what they allow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.tools.code.port import RunResult
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import RuntimeFolder, SandboxLimits
from core.tools.code.session import KernelSession
from tests.code import sandboxed
from tests.real.sandbox.driver import prove
from tests.real.sandbox.pythons import sandbox_python

pytestmark = pytest.mark.slow

PLAIN = {
    "threads": """
import threading
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(lambda n: n * n, range(100))))
""",
    "a hundred megabytes": "kept = bytearray(100_000_000); kept[-1] = 1; len(kept) + kept[-1]",
    "unicode": "open('ação 🦜.txt', 'w').write('日本語 ' + 'é' * 3); open('ação 🦜.txt').read()",
    "files of their own": """
import csv, json, os, tempfile, zipfile
from pathlib import Path
Path('a/b').mkdir(parents=True)
with open('a/b/rows.csv', 'w', newline='') as file:
    csv.writer(file).writerows([[1, 2], [3, 4]])
with zipfile.ZipFile('all.zip', 'w') as archive:
    archive.write('a/b/rows.csv')
with zipfile.ZipFile('all.zip') as archive:
    archive.extractall('out')
with tempfile.NamedTemporaryFile('w+') as file:
    json.dump({'a': 1}, file)
with tempfile.TemporaryDirectory() as folder:
    Path(folder, 'x').touch()
os.symlink('a/b/rows.csv', 'link')
open('link').read()
""",
    "copies and moves": """
import os, shutil, tarfile
os.makedirs('from/inner')
open('from/inner/x', 'w').write('x')
shutil.copy('from/inner/x', 'y'); shutil.copy2('from/inner/x', 'z')
shutil.copytree('from', 'to'); shutil.move('to', 'moved'); os.replace('y', 'w')
os.chmod('z', 0o644); os.utime('z'); os.truncate
with tarfile.open('all.tar.gz', 'w:gz') as archive:
    archive.add('moved')
with tarfile.open('all.tar.gz') as archive:
    archive.extractall('back')
shutil.rmtree('moved')
sorted(os.listdir()), os.listdir('back/moved/inner')
""",
    "a database": """
import sqlite3
with sqlite3.connect('own.db') as own:
    own.execute('create table t (a)'); own.executemany('insert into t values (?)', [(1,), (2,)])
sqlite3.connect('own.db').execute('select sum(a) from t').fetchone()
""",
    "time, chance and numbers": """
import datetime, decimal, fractions, hashlib, math, random, secrets, statistics, time, uuid
time.sleep(0.01); random.random(); secrets.token_hex(); uuid.uuid4(); hashlib.sha256(b'').digest()
decimal.Decimal('0.1') * 3, fractions.Fraction(1, 3), math.factorial(20), datetime.date(2026, 1, 1)
""",
    "a signal of one's own": """
import signal
came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
signal.raise_signal(signal.SIGUSR1)
came
""",
    "maps of files": """
import mmap
with open('mapped', 'wb+') as file:
    file.truncate(4096)
    with mmap.mmap(file.fileno(), 4096) as view:
        view[:2] = b'ok'
open('mapped', 'rb').read(2)
""",
}

WITH_LIBRARIES = {
    "a table": """
import pandas as pd
sales = pd.DataFrame({'month': ['Jan', 'Feb', 'Jan'], 'sum': [1.5, 2, 3]})
sales.to_csv('sales.csv', index=False); sales.to_excel('sales.xlsx', index=False)
read = pd.read_excel('sales.xlsx')
assert read.equals(pd.read_csv('sales.csv'))
read.groupby('month')['sum'].sum().to_dict()
""",
    "a plot": """
import matplotlib.pyplot as plt
import numpy as np
plt.plot(np.linspace(0, 1), label='é'); plt.legend(); plt.title('Umsatz')
""",
    "a picture": """
from PIL import Image
Image.new('RGB', (64, 64), 'red').resize((32, 32)).save('red.jpg')
Image.open('red.jpg').size
""",
    "a hundred megabytes of numbers": """
import numpy as np
numbers = np.ones(12_500_000)
float(numbers.sum()), float((numbers[:500, None] @ numbers[None, :500]).sum()), numbers.nbytes
""",
    "matrices": """
import numpy as np
a = np.random.default_rng(1).random((300, 300))
bool(np.allclose(np.linalg.inv(a) @ a, np.eye(300))), len(np.linalg.svd(a[:50])[1])
""",
    "time zones": """
import pandas as pd
str(pd.Timestamp('2026-07-01', tz='UTC').tz_convert('Europe/Paris'))
""",
}


@pytest.fixture(params=["bubblewrap", "landlock"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    sandboxed.require(request.param)
    runtime = RuntimeFolder()
    sandbox, failure = await prove(request.param, sandbox_python(), runtime)
    if failure:
        sandboxed.skip_blocked(failure)
    yield sandbox
    runtime.close()


async def run(sandbox: Sandbox, python: Path, *programs: str) -> list[RunResult]:
    """Run all programs in one kernel, one after another."""
    session = await KernelSession.start(sandbox, python, SandboxLimits())
    try:
        return [await session.run(code, ()) for code in programs]
    finally:
        await session.kill()


async def find_failures(
    sandbox: Sandbox, python: Path, programs: dict[str, str]
) -> dict[str, RunResult]:
    ran = await run(sandbox, python, *programs.values())
    return {
        name: each
        for name, each in zip(programs, ran, strict=True)
        if each.error or each.fault or not (each.value or each.printed or each.output_files)
    }


async def test_plain_programs_work(sandbox: Sandbox) -> None:
    assert await find_failures(sandbox, sandbox_python(), PLAIN) == {}


async def test_programs_with_libraries_work(sandbox: Sandbox) -> None:
    assert await find_failures(sandbox, await sandboxed.python(), WITH_LIBRARIES) == {}
