# shellcheck shell=bash
# An emulator of MongoDB's wire protocol from PyPI. It is not MongoDB: it has no logins, no replica sets, no 128-bit decimals.
#
#   MAVIS_TEST_MONGODB    mongodb://127.0.0.1:PORT/   a server where databases may be created
venv="$cache/mongodb"
wanted="nx-27017==0.8.1"
if [ "$(cat "$venv/wanted" 2>/dev/null || true)" != "$wanted" ]; then
    if { [ -x "$venv/bin/python" ] || python3 -m venv "$venv"; } >"$cache/mongodb.log" 2>&1 \
        && (set -f; "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $wanted) >>"$cache/mongodb.log" 2>&1; then
        echo "$wanted" >"$venv/wanted"
    fi
fi
if [ -f "$venv/wanted" ]; then
    mongodb_port=$(free_port)
    mkdir -p "$work/mongodb"
    "$venv/bin/nx-27017" --data-dir "$work/mongodb" --host 127.0.0.1 -p "$mongodb_port" \
        --log-file "$work/mongodb.log" --pid-file "$work/mongodb.pid" >"$work/mongodb.out" 2>&1 &
    pids+=($!)
    mongodb_answers=
    for _ in $(seq 150); do
        if "$venv/bin/python" -c "import pymongo; pymongo.MongoClient('mongodb://127.0.0.1:$mongodb_port/', serverSelectionTimeoutMS=300).admin.command('ping')" 2>/dev/null; then
            mongodb_answers=yes
            break
        fi
        sleep 0.2
    done
    if [ -n "$mongodb_answers" ]; then
        export MAVIS_TEST_MONGODB="mongodb://127.0.0.1:$mongodb_port/"
    else
        missing "the emulator of MongoDB does not start (see $work/mongodb.out)" "the MongoDB connector"
    fi
else
    missing "the emulator of MongoDB cannot be installed (see $cache/mongodb.log)" "the MongoDB connector"
fi
