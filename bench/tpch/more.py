"""A point query by key, a long stream, and many connections at once: Mavis and its peers through the same clients."""

import statistics
import threading
import time

import adbc_driver_flightsql.dbapi as flight

POINT = "SELECT * FROM orders WHERE o_orderkey = {}"
STREAMED = 2_000_000
STREAM = f"SELECT l_orderkey, l_partkey, l_quantity, l_shipdate, l_shipmode FROM lineitem LIMIT {STREAMED}"
CONNECTIONS = 100


def run(mavis, peers):
    engines = [mavis, *peers]
    print("\n|", " | ".join(["what", *(engine.name for engine in engines)]), "|\n|" + "---|" * (len(engines) + 1))
    for what, measure in (
        ("point query by key, two calls (pyarrow.flight), middle of 200, ms", lambda engines: point(engines, "fetch")),
        ("point query by key, ADBC (prepares each), middle of 200, ms", lambda engines: point(engines, "run")),
        ("stream of 2 M rows x 5 columns, pyarrow.flight, best of 5, M rows/s", lambda engines: stream(engines, "fetch")),
        ("stream of 2 M rows x 5 columns, ADBC, best of 5, M rows/s", lambda engines: stream(engines, "run")),
    ):
        figures = [f"{figure:.2f}" for figure in measure(engines)]
        print(f"| {what} |", " | ".join(figures), "|", flush=True)
    print(f"| {CONNECTIONS} connections list their tables, s | {connections(mavis):.2f} |" + " |" * (len(engines) - 1))


def point(engines, how):
    taken = {engine.name: [] for engine in engines}
    for round_ in range(200):
        # Keys of orders are sparse: 8 of 32 are there. Another key for each client.
        key = round_ * 29_984 + (1 if how == "fetch" else 15_009)
        for engine in engines:
            begun = time.perf_counter()
            rows = getattr(engine, how)(POINT.format(key)).num_rows
            taken[engine.name].append((time.perf_counter() - begun) * 1e3)
            if rows != 1:
                raise RuntimeError(f"{engine.name} has {rows} orders {key}")
    return [statistics.median(taken[engine.name]) for engine in engines]


def stream(engines, how):
    best = {engine.name: 0.0 for engine in engines}
    for _ in range(5):
        for engine in engines:
            begun = time.perf_counter()
            rows = getattr(engine, how)(STREAM).num_rows
            best[engine.name] = max(best[engine.name], rows / (time.perf_counter() - begun) / 1e6)
            if rows != STREAMED:
                raise RuntimeError(f"{engine.name} sent {rows} rows")
    return [best[engine.name] for engine in engines]


def connections(mavis):
    """Seconds until as many clients as there are connections have connected and listed the tables of a schema."""
    gate, failed = threading.Barrier(CONNECTIONS + 1), []

    def client():
        gate.wait()
        try:
            with flight.connect(f"grpc://{mavis.address}", db_kwargs=mavis.options, autocommit=True) as connection:
                listed = connection.adbc_get_objects(depth="tables", catalog_filter="raw").read_all()
                schemas = listed.column("catalog_db_schemas").to_pylist()[0]
                tables = [table for schema in schemas for table in schema["db_schema_tables"]]
                if len(tables) != 8:
                    failed.append(f"{len(tables)} tables")
        except Exception as error:
            failed.append(str(error).splitlines()[0])

    clients = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
    for one in clients:
        one.start()
    gate.wait()
    begun = time.perf_counter()
    for one in clients:
        one.join()
    if failed:
        raise RuntimeError(f"{len(failed)} of {CONNECTIONS} connections failed: {failed[0]}")
    return time.perf_counter() - begun
