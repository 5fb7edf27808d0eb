#!/bin/sh
# Installs the server of this checkout into a virtual environment: deploy/install.sh DESTINATION [WHEEL]
#
# The packages are those of requirements/base.txt, verified by their hashes. Without WHEEL, the wheel is built by the
# pinned packages of requirements/build.txt in an environment that is removed afterwards. Repeat it to upgrade.
# PYTHON is the Python to use (3.11 or newer). It needs the package index that pip is configured for.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 DESTINATION [WHEEL]" >&2
    exit 2
fi
checkout=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
destination=$1
wheel=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" "$checkout/requirements/install.py" "$destination" "$checkout/requirements/base.txt"
if [ -z "$wheel" ]; then
    "$python" "$checkout/requirements/install.py" "$work/build" "$checkout/requirements/build.txt"
    (cd "$checkout" && "$work/build/bin/python" -m hatchling build --target wheel --directory "$work/dist")
    wheel=$(echo "$work"/dist/*.whl)
fi
"$destination/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --no-index --force-reinstall "$wheel"
"$destination/bin/python" -m pip --disable-pip-version-check check
"$destination/bin/orb" --version
