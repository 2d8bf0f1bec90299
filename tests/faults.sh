#!/usr/bin/env bash
# Take a sample of COUNT faults with SEED and tell which ones the tests of this commit find.
#   tests/faults.sh COUNT SEED [FOLDER]     FOLDER keeps the checkout and the results
set -euo pipefail

# A fault may have the size and the second of the one before it: Python would take it for compiled.
export PYTHONDONTWRITEBYTECODE=1

count=$1 seed=$2 folder="${3:-$(mktemp -d -t ponte-faults-XXXX)}"
cd "$(dirname "$0")/.."
[[ -e $folder/checkout ]] || git clone --quiet . "$folder/checkout"
cd "$folder/checkout"
make .venv/ready-to-test >/dev/null
python=.venv/bin/python

if [[ ! -e ../hits.done ]]; then
    $python -m tests.faults sample --seed "$seed" --count "$count" ../faults.json
    $python -m tests.faults mark ../faults.json ../hits
    $python -m pytest -n "${WORKERS:-2}" --deselect tests/test_style.py >../marked.log || true
    git checkout --quiet -- adapters bot core
    touch ../hits.done
fi
$python -m tests.faults check ../faults.json ../hits ../results.json --workers "${WORKERS:-2}"
echo "$folder/results.json"
