"""The engines that are compared. Each answers SQL over the same Delta tables with an Arrow table."""

import glob
import os
import resource
import shutil
import socket
import subprocess
import time

import adbc_driver_flightsql.dbapi as flight
import duckdb
import duckdb_extensions
import pyarrow.flight

from answers import TABLES, qualified


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def statement(sql):
    """A `CommandStatementQuery` of FlightSql.proto, in its `Any`."""

    def field(number, content):
        length, size = b"", len(content)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return field(1, kind) + field(2, field(1, sql.encode()))


class Served:
    """A server process and one Flight SQL connection to it."""

    schema = ""
    options = {}

    def start(self, command, address, log):
        self.address = address
        self.process = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT)
        until = time.time() + 120
        while True:
            try:
                socket.create_connection(address.split(":"), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.time() > until:
                    raise RuntimeError(f"{self.name} does not start, see {log}") from None
                time.sleep(0.1)

    def connect(self):
        self.connection = flight.connect(f"grpc://{self.address}", db_kwargs=self.options, autocommit=True)
        self.cursor = self.connection.cursor()

    def run(self, sql):
        self.cursor.execute(qualified(sql, self.schema))
        return self.cursor.fetch_arrow_table()

    def fetch(self, sql):
        """As `run`, with the two calls that Flight SQL needs and no others: GetFlightInfo and DoGet."""
        if not hasattr(self, "client"):
            self.client = pyarrow.flight.FlightClient(f"grpc://{self.address}")
            header = self.options.get("adbc.flight.sql.authorization_header")
            self.call = pyarrow.flight.FlightCallOptions(headers=[(b"authorization", header.encode())] if header else [])
        command = pyarrow.flight.FlightDescriptor.for_command(statement(qualified(sql, self.schema)))
        info = self.client.get_flight_info(command, self.call)
        parts = [self.client.do_get(endpoint.ticket, self.call).read_all() for endpoint in info.endpoints]
        return pyarrow.concat_tables(parts)

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if hasattr(self, "cursor"):
            self.cursor.close()
            self.connection.close()
        self.process.terminate()
        self.process.wait()


class Mavis(Served):
    """Mavis, whose own ingest writes the tables. Kept answers are turned off: each query is computed. Columns of files that are
    read again stay in memory, decompressed (`pages`), as in a server that runs."""

    name = "mavis"
    schema = "raw.tpch."

    def __init__(self, binary, work, source, pages):
        self.data = f"{work}/data"
        self.lake = f"{self.data}/lake/raw/tpch"
        http, grpc = free_port(), free_port()
        config = f"{work}/mavis.toml"
        with open(config, "w") as file:
            file.write(f'data = "{self.data}"\n[http]\nlisten = "127.0.0.1:{http}"\n[grpc]\nlisten = "127.0.0.1:{grpc}"\n')
            file.write("[query]\nanswers_bytes = 0\n" + ("" if pages else "pages_bytes = 0\n"))
        self.start([binary, "serve", "--config", config], f"127.0.0.1:{grpc}", f"{work}/mavis.log")
        token = f"{self.data}/admin.token"
        if not glob.glob(f"{self.lake}/lineitem/*.parquet"):
            for command in (
                ["source", "add", "tpch", "--kind", "files", "--param", f"path={source}"],
                ["source", "discover", "tpch"],
                ["ingest", "tpch"],
            ):
                call = [binary, "--server", self.address, "--token-file", token, *command]
                subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.options = {"adbc.flight.sql.authorization_header": f"Bearer {open(token).read().strip()}"}
        self.connect()


class Roapi(Served):
    """ROAPI over the files where they lie, or, as it does unless it is told otherwise, over all rows in its memory."""

    def __init__(self, lake, work, in_memory):
        self.name = "roapi in memory" if in_memory else "roapi"
        flight_sql = free_port()
        kind = "format=delta" if in_memory else "format=delta,use_memory_table=false"
        tables = [f"{table}={lake}/{table},{kind}" for table in TABLES]
        command = [shutil.which("roapi", path=f"{work}/venv/bin"), "--addr-http", f"127.0.0.1:{free_port()}"]
        command += ["--addr-postgres", f"127.0.0.1:{free_port()}", "--addr-flight-sql", f"127.0.0.1:{flight_sql}"]
        self.start(command + [part for table in tables for part in ("-t", table)], f"127.0.0.1:{flight_sql}", f"{work}/{self.name}.log")
        self.connect()


class Sail(Served):
    """Sail's Flight SQL server; its dialect is Spark's."""

    name = "sail"

    def __init__(self, lake, work):
        port = free_port()
        sail = shutil.which("sail", path=f"{work}/venv/bin")
        self.start([sail, "flight", "server", "--port", str(port)], f"127.0.0.1:{port}", f"{work}/sail.log")
        self.connect()
        for table in TABLES:
            self.cursor.execute(f"CREATE OR REPLACE TEMPORARY VIEW {table} AS SELECT * FROM delta.`{lake}/{table}`")
            self.cursor.fetch_arrow_table()


class DuckDb:
    """DuckDB in this process, with as many threads as Mavis has."""

    def __init__(self, name, of):
        """`of`: what a table's view selects from."""
        self.name = name
        self.connection = duck()
        self.connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
        for table in TABLES:
            self.connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {of(self.connection, table)}")

    def run(self, sql):
        return self.connection.execute(sql).to_arrow_table()

    def cpu_seconds(self):
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def stop(self):
        self.connection.close()


def duck():
    """A DuckDB with its tpch and Delta extensions."""
    for extension in ("delta", "tpch"):
        duckdb_extensions.import_extension(extension)
    connection = duckdb.connect()
    connection.execute("LOAD delta; LOAD tpch")
    return connection


def on_delta(lake):
    """DuckDB's Delta extension on the same tables, their log read once."""

    def attached(connection, table):
        connection.execute(f"ATTACH '{lake}/{table}' AS delta_{table} (TYPE delta, PIN_SNAPSHOT)")
        return f"delta_{table}"

    return DuckDb("duckdb", attached)


def on_parquet(source):
    """DuckDB on the Parquet files that the data came as, for what the lake's own layout costs or saves it."""
    return DuckDb("duckdb on parquet", lambda _, table: f"read_parquet('{source}/{table}.parquet')")
