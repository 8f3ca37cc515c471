# MariaDB. Sourced by tests/setup.
#
#   MAVIS_TEST_MARIADB         mysql://mavis:mavis@127.0.0.1:PORT/mysql   a server where databases and users may be made
#   MAVIS_TEST_MARIADB_SERVER  a command `start FOLDER PORT` that runs a server of its own in the foreground, for tests that
#                              kill it; the user mavis exists there, too
#   MAVIS_TEST_MARIADB_CLIENT  the plain client, for benchmarks

if install_debian mariadbd mariadb-server || [ -x /usr/sbin/mariadbd ]; then
    mariadb_server="$work/mariadb-start"
    cat >"$mariadb_server" <<'SCRIPT'
#!/bin/sh
# start FOLDER PORT: makes the data folder where it is not there, and becomes the server.
set -eu
folder=$1 port=$2
mariadbd=$(command -v mariadbd || echo /usr/sbin/mariadbd)
user=$(id -un)
if [ "$user" = root ]; then user=mysql; fi
if [ ! -d "$folder/data/mysql" ]; then
    mkdir -p "$folder/data"
    if [ "$(id -u)" = 0 ]; then chown -R mysql "$folder"; fi
    mariadb-install-db --no-defaults --user="$user" --datadir="$folder/data" --skip-test-db \
        --auth-root-authentication-method=normal >"$folder/install.log" 2>&1
    cat >"$folder/init.sql" <<SQL
CREATE USER IF NOT EXISTS mavis@'%' IDENTIFIED BY 'mavis';
GRANT ALL ON *.* TO mavis@'%' WITH GRANT OPTION;
SQL
    chmod 644 "$folder/init.sql"
fi
exec "$mariadbd" --no-defaults --user="$user" --datadir="$folder/data" --port="$port" --bind-address=127.0.0.1 \
    --socket="$folder/data/s" --pid-file="$folder/data/pid" --skip-name-resolve --init-file="$folder/init.sql" \
    --log-bin="$folder/data/binlog" --binlog-format=ROW --server-id=1 --innodb-flush-log-at-trx-commit=1 --sync-binlog=1 \
    --innodb-buffer-pool-size=128M --max-connections=300 --sql-mode=NO_ENGINE_SUBSTITUTION >>"$folder/server.log" 2>&1
SCRIPT
    chmod 755 "$mariadb_server"
    mkdir -p "$work/mariadb"
    mariadb_port=$(free_port)
    "$mariadb_server" "$work/mariadb" "$mariadb_port" &
    pids+=($!)
    for _ in $(seq 150); do
        if mariadb --no-defaults -h 127.0.0.1 -P "$mariadb_port" -u mavis -pmavis -e 'SELECT 1' >/dev/null 2>&1; then
            export MAVIS_TEST_MARIADB="mysql://mavis:mavis@127.0.0.1:$mariadb_port/mysql"
            break
        fi
        sleep 0.2
    done
    if [ -n "${MAVIS_TEST_MARIADB:-}" ]; then
        export MAVIS_TEST_MARIADB_SERVER="$mariadb_server"
        MAVIS_TEST_MARIADB_CLIENT=$(command -v mariadb)
        export MAVIS_TEST_MARIADB_CLIENT
    else
        missing "MariaDB does not start (see $work/mariadb/server.log)" "the MySQL connector"
    fi
else
    missing "MariaDB cannot be installed without root or sudo" "the MySQL connector"
fi
