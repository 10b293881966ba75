#!/usr/bin/env python3
"""Lets DuckDB and the catalog read and write one lake in turn.

    cargo build -p frazil-catalog --example lake
    python crates/catalog/tests/interop/ducklake.py <path of the example's binary> [PostgreSQL URL]

Needs the packages duckdb, duckdb-extension-ducklake, duckdb-extension-sqlite-scanner and, for PostgreSQL,
duckdb-extension-postgres-scanner, all of one version (1.5.5).
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

import duckdb

LAKE = os.path.abspath(sys.argv[1])
URL = sys.argv[2] if len(sys.argv) > 2 else None
ROOT = tempfile.mkdtemp()
DATA = ROOT + "/data/"
STORE = URL or ROOT + "/lake.ducklake"


def lake(*args):
    done = subprocess.run([LAKE, STORE, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, f"lake {args}: {done.stderr}"
    return done.stdout.strip()


def show(*at):
    return json.loads(lake("show", *at))


def extension(name):
    site = os.path.dirname(os.path.dirname(duckdb.__file__))
    return glob.glob(f"{site}/duckdb_extension_{name}/extensions/*/{name}.duckdb_extension")[0]


def attach():
    connection = duckdb.connect()
    backing = "postgres_scanner" if URL else "sqlite_scanner"
    connection.execute(f"LOAD '{extension(backing)}'")
    connection.execute(f"LOAD '{extension('ducklake')}'")
    if URL:
        connection.execute(f"ATTACH 'ducklake:postgres:{URL}' AS lake (METADATA_SCHEMA 'lake')")
    else:
        connection.execute(f"ATTACH 'ducklake:sqlite:{STORE}' AS lake")
    connection.execute("USE lake")
    return connection


def check(what, found, expected):
    assert found == expected, f"{what}: {found!r} is not {expected!r}"
    print(f"ok  {what}")


def rows(connection, sql):
    return connection.execute(sql).fetchall()


def write_parquet(path, sql, ids):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fields = ", ".join(f"{name}: {number}" for name, number in ids.items())
    duckdb.connect().execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, FIELD_IDS {{{fields}}})")
    return os.path.getsize(path)


lake("create", DATA)
first = "SELECT i AS id, 'n' || i AS name, i + 0.5 AS amount FROM range(0, 100) t(i)"
first = first.replace("i + 0.5 AS", "CAST(i + 0.5 AS DECIMAL(10,2)) AS")
size = write_parquet(DATA + "main/t/a.parquet", first, {"id": 1, "name": 2, "amount": 3})
lake("add", "t", "a.parquet", 100, size, 0, 99)

duck = attach()
check("DuckDB reads our file", rows(duck, "SELECT COUNT(*), SUM(id), MIN(name), MAX(amount)::VARCHAR FROM t"), [(100, 4950, "n0", "99.50")])
check("DuckDB prunes by our statistics", rows(duck, "SELECT COUNT(*) FROM t WHERE id > 99"), [(0,)])
check("DuckDB reads our view", rows(duck, "SELECT COUNT(*) FROM v"), [(100,)])
check("DuckDB sees our schemas", rows(duck, "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'lake' ORDER BY 1"), [("main",), ("odd schema",)])

duck.execute("INSERT INTO t VALUES (1000, 'duck', 1.25)")
duck.execute("INSERT INTO t(id) VALUES (1001)")
duck.execute("DELETE FROM t WHERE id < 10")
duck.execute("DELETE FROM t WHERE id BETWEEN 10 AND 14")
after_deletes = show()
table = after_deletes["tables"]["main.t"]
check("we count DuckDB's rows", table["rows"], 100 + 2 - 15)
check("we see DuckDB's files", sorted(f["rows"] for f in table["files"]), [1, 1, 100])
deletes = [f["deletes"] for f in table["files"] if f["deletes"]]
check("we see DuckDB's delete file", [(d["count"], d["filter"]) for d in deletes], [(15, None)])
earlier = show(after_deletes["snapshot"] - 1)["tables"]["main.t"]
deletes = [f["deletes"] for f in earlier["files"] if f["deletes"]]
check("and that a part of it is of the past", [d["filter"] for d in deletes], [after_deletes["snapshot"] - 1])

# Our delete file for DuckDB's file, then DuckDB's on top of ours.
duck_file = next(f for f in table["files"] if f["min"].startswith("Some(Int(1000"))
positions = f"SELECT '{duck_file['path']}' AS file_path, 0::BIGINT AS pos"
write_parquet(DATA + "main/t/ours-delete.parquet", positions, {"file_path": 2147483546, "pos": 2147483545})
lake("delete", "t", os.path.basename(duck_file["path"]), "ours-delete.parquet", 1)
check("DuckDB applies our delete file", rows(duck, "SELECT COUNT(*) FROM t WHERE id = 1000"), [(0,)])
size = write_parquet(DATA + "main/t/b.parquet", first.replace("range(0, 100)", "range(200, 210)"), {"id": 1, "name": 2, "amount": 3})
lake("add", "t", "b.parquet", 10, size, 200, 209)
b = f"SELECT '{DATA}main/t/b.parquet' AS file_path, pos FROM (VALUES (0::BIGINT), (1)) v(pos)"
write_parquet(DATA + "main/t/b-delete.parquet", b, {"file_path": 2147483546, "pos": 2147483545})
lake("delete", "t", "b.parquet", "b-delete.parquet", 2)
check("our deletes of our file", rows(duck, "SELECT COUNT(*), MIN(id) FROM t WHERE id BETWEEN 200 AND 209"), [(8, 202)])
duck.execute("DELETE FROM t WHERE id = 202")
check("DuckDB deletes over our deletes", rows(duck, "SELECT COUNT(*), MIN(id) FROM t WHERE id BETWEEN 200 AND 209"), [(7, 203)])
b = next(f for f in show()["tables"]["main.t"]["files"] if f["path"].endswith("/b.parquet"))
check("and we see it", b["deletes"]["count"], 3)

lake("alter")
duck = attach()
check("DuckDB sees our columns", rows(duck, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 't' ORDER BY column_index"), [("id", "BIGINT"), ("label", "VARCHAR"), ("amount", "DECIMAL(10,2)"), ("n", "BIGINT")])
check("DuckDB fills our default", rows(duck, "SELECT DISTINCT n FROM t"), [(42,)])
check("DuckDB sees our comment", rows(duck, "SELECT comment FROM duckdb_tables() WHERE table_name = 't'"), [("it's a table",)])
duck.execute("ALTER TABLE t ADD COLUMN d DATE")
duck.execute("ALTER TABLE t RENAME COLUMN amount TO total")
duck.execute("ALTER TABLE t ALTER total TYPE DECIMAL(12,2)")
duck.execute("INSERT INTO t VALUES (5000, 'last', 7, 8, DATE '2026-01-02')")
duck.execute("CREATE TABLE p(id BIGINT, s STRUCT(a INT, b VARCHAR[]))")
duck.execute("ALTER TABLE p SET PARTITIONED BY (id)")
duck.execute("INSERT INTO p VALUES (1, {'a': 1, 'b': ['x']}), (2, NULL)")
shown = show()
check("we see DuckDB's columns", shown["tables"]["main.t"]["columns"], ["1 id int64", "2 label varchar", "3 total decimal(12,2)", "4 n int64", "5 d date"])
check("we see DuckDB's partitioned table", (shown["tables"]["main.p"]["rows"], len(shown["tables"]["main.p"]["files"])), (2, 2))

total = rows(duck, "SELECT COUNT(*), SUM(id) FROM t")
lake("clone", "t", "twin")
check("DuckDB reads our clone", rows(duck, "SELECT COUNT(*), SUM(id) FROM twin"), total)
duck.execute("DELETE FROM twin WHERE id = 5000")
check("the original stays", rows(duck, "SELECT COUNT(*), SUM(id) FROM t"), total)
duck.execute("DROP TABLE t")
lake("undrop", "t")
check("DuckDB reads what we undropped", rows(duck, "SELECT COUNT(*), SUM(id) FROM t"), total)
duck.execute("INSERT INTO t(id) VALUES (6000)")
check("and writes to it", rows(duck, "SELECT COUNT(*) FROM t"), [(total[0][0] + 1,)])
at = rows(duck, f"SELECT COUNT(*) FROM t AT (VERSION => {after_deletes['snapshot']})")
check("DuckDB travels in time", at, [(87,)])

# Two small files merged by DuckDB.
duck.execute("INSERT INTO p VALUES (1, NULL)")
before_merge = show()["snapshot"]
duck.execute("CALL ducklake_merge_adjacent_files('lake')")
merged = show()["tables"]["main.p"]
check("we see merged files", merged["rows"], 3)
past = show(before_merge - 1)["tables"]["main.p"]
check("and their past", sorted(bool(f["filter"]) for f in past["files"])[-1], True)

lake("truncate", "twin")
check("DuckDB sees our truncation", rows(duck, "SELECT COUNT(*) FROM twin"), [(0,)])
count = rows(duck, "SELECT COUNT(*) FROM t")
for path in lake("expire").split():
    os.remove(path)
check("what is left is whole", rows(duck, "SELECT COUNT(*) FROM t"), count)
check("also for a new connection", rows(attach(), "SELECT COUNT(*), COUNT(n) FROM t"), [(count[0][0],) * 2])

# DuckDB 1.5.5 crashes in set_option where a lake has a view, also in lakes of its own.
duck.execute("DROP VIEW v")
duck.execute("CALL lake.set_option('data_inlining_row_limit', 10)")
duck = attach()
duck.execute("CREATE TABLE small(id INT)")
duck.execute("INSERT INTO small VALUES (1)")
check("inlined data are refused", "has inlined data" in show()["tables"]["main.small"]["files"].get("error", ""), True)
duck.execute("CALL ducklake_flush_inlined_data('lake')")
check("and read once flushed", show()["tables"]["main.small"]["rows"], 1)
print("all ok")
