# Firebird 3 (the only version that Debian has). Sourced by tests/setup.
#
#   MAVIS_TEST_FIREBIRD         SYSDBA:masterkey@127.0.0.1:PORT/FOLDER   a server where databases may be made in FOLDER
#   MAVIS_TEST_FIREBIRD_SERVER  a command `start FOLDER PORT` that runs a server of its own in the foreground, for tests that
#                               kill it; its databases lie in FOLDER/data
#   MAVIS_TEST_FIREBIRD_ISQL    the plain client, which makes the tests' databases, too

firebird_lib=$(ls -d /usr/lib/*/firebird/3.0 2>/dev/null | head -n 1 || true)
if [ -z "$firebird_lib" ] || ! command -v isql-fb >/dev/null 2>&1; then
    # The package's own start-up script may fail where no init system runs; what is needed is there nevertheless.
    install_debian isql-fb "firebird3.0-server firebird3.0-utils" || true
    firebird_lib=$(ls -d /usr/lib/*/firebird/3.0 2>/dev/null | head -n 1 || true)
fi
if [ -n "$firebird_lib" ] && [ -x /usr/sbin/firebird ] && command -v isql-fb >/dev/null 2>&1; then
    firebird_server="$work/firebird-start"
    cat >"$firebird_server" <<'SCRIPT'
#!/bin/sh
# start FOLDER PORT: makes the server's folder where it is not there, and becomes the server.
set -eu
folder=$1 port=$2
lib=$(ls -d /usr/lib/*/firebird/3.0 | head -n 1)
root="$folder/server"
if [ ! -f "$root/security3.fdb" ]; then
    mkdir -p "$folder/data"
    chmod 777 "$folder/data"
    # A server of its own: a copy of the program's folder with its own settings and its own users.
    cp -rL "$lib" "$root"
    rm -f "$root/firebird.conf" "$root/databases.conf"
    cat >"$root/firebird.conf" <<CONF
RemoteServicePort = $port
RemoteBindAddress = 127.0.0.1
SecurityDatabase = $root/security3.fdb
AuthServer = Srp
UserManager = Srp
WireCrypt = Enabled
DatabaseAccess = Full
ServerMode = Super
DefaultDbCachePages = 2048
TempDirectories = $folder/data
CONF
    : >"$root/databases.conf"
    # An embedded connection, which asks for no password, makes the database of users and its administrator.
    cat >"$folder/users.sql" <<SQL
CREATE DATABASE '$root/security3.fdb';
COMMIT;
IN /usr/share/firebird/3.0/security.sql;
COMMIT;
CREATE USER SYSDBA PASSWORD 'masterkey' USING PLUGIN Srp;
COMMIT;
SQL
    FIREBIRD="$root" FIREBIRD_LOCK="$folder/data" isql-fb -user SYSDBA -q -i "$folder/users.sql" >"$folder/install.log" 2>&1
else
    sed -i "s/^RemoteServicePort = .*/RemoteServicePort = $port/" "$root/firebird.conf"
fi
export FIREBIRD="$root" FIREBIRD_LOCK="$folder/data" FIREBIRD_TMP="$folder/data" FIREBIRD_MSG="$root"
exec /usr/sbin/firebird >>"$folder/server.log" 2>&1
SCRIPT
    chmod 755 "$firebird_server"
    mkdir -p "$work/firebird"
    firebird_port=$(free_port)
    "$firebird_server" "$work/firebird" "$firebird_port" &
    pids+=($!)
    firebird_data="$work/firebird/data"
    for _ in $(seq 100); do
        if echo "CREATE DATABASE '127.0.0.1/$firebird_port:$firebird_data/hello.fdb'; QUIT;" \
            | isql-fb -q -user SYSDBA -password masterkey >/dev/null 2>&1 && [ -f "$firebird_data/hello.fdb" ]; then
            export MAVIS_TEST_FIREBIRD="SYSDBA:masterkey@127.0.0.1:$firebird_port$firebird_data"
            break
        fi
        sleep 0.2
    done
    if [ -n "${MAVIS_TEST_FIREBIRD:-}" ]; then
        export MAVIS_TEST_FIREBIRD_SERVER="$firebird_server"
        MAVIS_TEST_FIREBIRD_ISQL=$(command -v isql-fb)
        export MAVIS_TEST_FIREBIRD_ISQL
    else
        missing "Firebird does not start (see $work/firebird/server.log)" "the Firebird connector"
    fi
else
    missing "Firebird cannot be installed without root or sudo" "the Firebird connector"
fi
