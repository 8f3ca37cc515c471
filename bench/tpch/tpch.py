"""Runs the 22 queries of TPC-H on every engine, compares their answers, and prints times and ratios."""

import argparse
import json
import math
import os
import statistics
import time

import answers
import engines
import more


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mavis", required=True, help="the binary")
    parser.add_argument("--work", required=True, help="folder for data and logs")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", default="duckdb,duckdb on parquet,roapi,sail", help="beside mavis; `roapi in memory` too")
    parser.add_argument("--without-pages", action="store_true", help="mavis keeps no columns of files in memory")
    parser.add_argument("--skip-more", action="store_true", help="only the 22 queries")
    options = parser.parse_args()
    work = os.path.abspath(f"{options.work}/sf{options.scale:g}")
    os.makedirs(work, exist_ok=True)
    if not os.path.exists(f"{work}/venv"):
        os.symlink(os.path.abspath(f"{options.work}/venv"), f"{work}/venv")
    source = generated(work, options.scale)
    mavis = engines.Mavis(os.path.abspath(options.mavis), work, source, not options.without_pages)
    running = [mavis]
    try:
        for name in options.engines.split(","):
            running += start(name, mavis.lake, source, work)
        duck = engines.duck()
        result = compare(running, answers.queries(duck), answers.known(duck, options.scale), options.rounds)
        report(result, [engine.name for engine in running])
        with open(f"{work}/result.json", "w") as file:
            json.dump(result, file, indent=1)
        if not options.skip_more:
            more.run(mavis, [engine for engine in running if engine.name.startswith(("roapi", "sail"))])
    finally:
        for engine in running:
            engine.stop()


def start(name, lake, source, work):
    """The engine of a name; none, and a line that says so, where it cannot be had."""
    make = {
        "duckdb": lambda: engines.on_delta(lake),
        "duckdb on parquet": lambda: engines.on_parquet(source),
        "roapi": lambda: engines.Roapi(lake, work, in_memory=False),
        "roapi in memory": lambda: engines.Roapi(lake, work, in_memory=True),
        "sail": lambda: engines.Sail(lake, work),
    }[name]
    try:
        return [make()]
    except Exception as error:
        print(f"{name} is left out: {error}")
        return []


def generated(work, scale):
    """The data as Parquet files, one a table, made once by DuckDB's generator, which its known answers belong to."""
    source = f"{work}/parquet"
    if not os.path.exists(f"{source}/../generated"):
        os.makedirs(source, exist_ok=True)
        duck = engines.duck()
        duck.execute(f"CALL dbgen(sf = {scale})")
        for table in answers.TABLES:
            duck.execute(f"COPY {table} TO '{source}/{table}.parquet' (FORMAT parquet)")
        open(f"{source}/../generated", "w").close()
    return source


def compare(running, queries, known, rounds):
    """Per query and engine: the first time, the least and the middle of the others, the least CPU, in ms, and what was wrong."""
    result = []
    for number, sql in enumerate(queries, 1):
        times, wrong, reference = {engine.name: [] for engine in running}, {}, known.get(number)
        for _ in range(rounds + 1):
            for engine in running:
                if engine.name in wrong:
                    continue
                begun, cpu = time.perf_counter(), engine.cpu_seconds()
                try:
                    table = engine.run(sql)
                except Exception as error:
                    wrong[engine.name] = str(error).splitlines()[0][:160]
                    continue
                times[engine.name].append(((time.perf_counter() - begun) * 1e3, (engine.cpu_seconds() - cpu) * 1e3))
                if len(times[engine.name]) == 1:
                    got = answers.texts(table)
                    reference = reference or got
                    difference = answers.differ(got, reference)
                    if difference:
                        wrong[engine.name] = difference
        row = {"query": number, "wrong": wrong}
        for name, taken in times.items():
            if name not in wrong:
                warm = [wall for wall, _ in taken[1:]]
                row[name] = {"first": taken[0][0], "least": min(warm), "middle": statistics.median(warm)}
                row[name]["cpu"] = max(10.0, min(cpu for _, cpu in taken[1:]))
        result.append(row)
        told = {name: round(row[name]["least"]) for name in times if name in row}
        print(f"q{number}", told, *(f"{name}: {reason}" for name, reason in wrong.items()), flush=True)
    return result


def report(result, names):
    """A table of the least times, and geometric means over the queries that every engine answered right."""
    print("\n| query |", " | ".join(f"{name} ms" for name in names), "| mavis / duckdb |")
    print("|---|" + "---|" * (len(names) + 1))
    for row in result:
        cells = [f"{row[name]['least']:.0f}" if name in row else "wrong" for name in names]
        both = "mavis" in row and "duckdb" in row
        ratio = f"{row['mavis']['least'] / row['duckdb']['least']:.2f} x" if both else ""
        print(f"| q{row['query']} |", " | ".join(cells), f"| {ratio} |")
    for what, say in (
        ("least", "warm, least"),
        ("middle", "warm, middle"),
        ("first", "first time"),
        ("cpu", "CPU"),
    ):
        means = {name: mean([row[name][what] for row in result if name in row]) for name in names}
        ratios = ratio_of(result, what)
        print(f"| {say}: geometric mean |", " | ".join(f"{means[name]:.0f}" for name in names), f"| {ratios} |")
    wrong = {row["query"]: row["wrong"] for row in result if row["wrong"]}
    print(f"\nanswers: {'all right' if not wrong else wrong}")


def ratio_of(result, what):
    both = [row["mavis"][what] / row["duckdb"][what] for row in result if "mavis" in row and "duckdb" in row]
    return f"{mean(both):.2f} x" if both else ""


def mean(values):
    return math.exp(statistics.mean(map(math.log, values))) if values else math.nan


if __name__ == "__main__":
    main()
