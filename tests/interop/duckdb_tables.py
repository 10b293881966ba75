#!/usr/bin/env python3
"""DuckDB attaches a database of Frazil: both read and write it in turn, and see the same.

    python tests/interop/duckdb_tables.py <path of frazil> <empty directory>

Needs the packages in requirements.txt beside this file.
"""

import csv
import glob
import io
import os
import subprocess
import sys

import duckdb

FRAZIL, DATA = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])


def frazil(sql):
    """The rows of a statement, as texts."""
    command = [FRAZIL, "sql", "--data", DATA, "--format", "csv", "-c", sql]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"frazil: {sql}: {done.stderr}"
    return list(csv.reader(io.StringIO(done.stdout)))[1:]


def extension(name):
    site = os.path.dirname(os.path.dirname(duckdb.__file__))
    return glob.glob(f"{site}/duckdb_extension_{name}/extensions/*/{name}.duckdb_extension")[0]


def attached():
    connection = duckdb.connect()
    for name in ("sqlite_scanner", "ducklake"):
        connection.execute(f"LOAD '{extension(name)}'")
    connection.execute(f"ATTACH 'ducklake:sqlite:{DATA}/catalog/frazil.ducklake' AS lake")
    connection.execute("USE lake.public")
    return connection


def same(what, sql):
    """What both answer, which must be one."""
    ours = frazil(sql)
    with attached() as connection:
        theirs = [["" if value is None else str(value) for value in row] for row in connection.execute(sql).fetchall()]
    assert ours == theirs, f"{what}: Frazil says {ours}, DuckDB says {theirs}"
    print(f"ok  {what}: {ours}")
    return ours


def duck(*statements):
    with attached() as connection:
        for sql in statements:
            connection.execute(sql)


SUMS = "SELECT count(*), sum(k), count(name), min(name), max(day), sum(price) FROM t"

frazil(
    "CREATE TABLE t AS SELECT value AS k, 'name ' || (value % 7) AS name, CAST('2020-01-01' AS DATE) AS day, "
    "CAST(value AS DECIMAL(12,2)) / 4 AS price FROM generate_series(1, 10000)"
)
for kind, name in (("TABLE", "t"), ("SCHEMA", "public"), ("DATABASE", "frazil")):
    frazil(f"ALTER {kind} {name} SET DATA_RETENTION_TIME_IN_DAYS = 9")
with attached() as connection:
    kept = connection.execute("SELECT scope, value FROM ducklake_options('lake') WHERE option_name = 'expire_older_than'")
    assert sorted(kept.fetchall()) == [(scope, "9 days") for scope in ("GLOBAL", "SCHEMA", "TABLE")], "retention"
same("a table of Frazil's", SUMS)
duck("INSERT INTO t VALUES (20000, 'of DuckDB', DATE '2024-02-29', 1.25), (20001, NULL, NULL, NULL)")
same("rows that DuckDB inserted", SUMS)
duck("DELETE FROM t WHERE k % 10 = 3")
same("rows that DuckDB deleted", SUMS)
duck("DELETE FROM t WHERE k % 10 = 4")
same("more rows that DuckDB deleted from the same files", SUMS)
frazil("DELETE FROM t WHERE k % 10 = 5")
same("rows that Frazil deleted", SUMS)
delete_files = glob.glob(f"{DATA}/warehouse/frazil/public/t/frazil-*-delete.parquet")
assert len(delete_files) == 1, f"Frazil wrote no delete file beside DuckDB's: {delete_files}"
duck("DELETE FROM t WHERE k = 17")
same("a row that DuckDB deleted from a file with a delete file of Frazil's", SUMS)
duck("UPDATE t SET price = price + 1 WHERE k < 100")
same("rows that DuckDB updated", SUMS)
frazil("UPDATE t SET name = 'of Frazil' WHERE k BETWEEN 200 AND 300")
same("rows that Frazil updated", SUMS)
frazil("CREATE TABLE s AS SELECT value AS k, 'merged ' || value AS name FROM generate_series(9990, 10010)")
merged = frazil(
    "MERGE INTO t USING s ON t.k = s.k WHEN MATCHED AND s.k % 2 = 0 THEN DELETE "
    "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (k, name) VALUES (s.k, s.name)"
)
assert sum(int(count) for count in merged[0]) == 21, merged
same("rows that Frazil merged", SUMS)
same("the merged rows", "SELECT k, name, day FROM t WHERE name LIKE 'merged %' ORDER BY k")
assert len(glob.glob(f"{DATA}/warehouse/frazil/public/t/frazil-*-delete.parquet")) > 1
optimized = frazil("OPTIMIZE t")
assert int(optimized[0][1]) < int(optimized[0][0]), optimized
same("a table that Frazil compacted", SUMS)
frazil("ALTER TABLE t CLUSTER BY (day, k)")
frazil("OPTIMIZE t FULL")
same("a table that Frazil clustered", SUMS)
duck("INSERT INTO t VALUES (20002, 'sorted', DATE '2024-03-01', 2.5)", "DELETE FROM t WHERE k = 20000")
same("what DuckDB changed in a clustered table", SUMS)
frazil("OPTIMIZE t")
same("a table that Frazil compacted again", SUMS)
duck("ALTER TABLE t RENAME COLUMN name TO title", "ALTER TABLE t ADD COLUMN note VARCHAR DEFAULT 'none'")
same("columns that DuckDB renamed and added", "SELECT count(title), min(title), count(note), min(note) FROM t")
frazil("ALTER TABLE t DROP CLUSTERING KEY")
frazil("ALTER TABLE t DROP COLUMN day")
frazil("ALTER TABLE t ADD COLUMN day INT")
frazil("INSERT INTO t (k, title, day) VALUES (30000, 'last', 7)")
same("columns that Frazil dropped and added", "SELECT count(*), count(day), sum(day), max(title), count(note) FROM t")
duck("CREATE TABLE u AS SELECT k, [k, k + 1] AS pair, {'a': k} AS s FROM t WHERE k < 50")
same("a nested table of DuckDB's", "SELECT count(*), sum(pair[2]) FROM u")
same("nested conditions", "SELECT sum(k) FROM u WHERE s.a > 20 AND pair[1] < 40")
frazil("INSERT INTO u VALUES (100, [1, 2], {'a': 7}), (101, NULL, {'a': NULL})")
frazil("INSERT INTO u SELECT value, make_array(value, -value), named_struct('a', value * 2) FROM generate_series(200, 300)")
frazil("UPDATE u SET pair = [8, 9], s = {'a': 70} WHERE k = 5")
NESTED = "SELECT k, pair[1], pair[2], s.a FROM u WHERE k < 10 OR k BETWEEN 100 AND 210 OR k > 290 ORDER BY k"
same("constants in a nested table", NESTED)
duck("INSERT INTO u VALUES (500, [50, 51], {'a': 52})", "UPDATE u SET s = {'a': -1} WHERE k = 100")
same("what DuckDB changed in a nested table", NESTED)
duck("ALTER TABLE u RENAME COLUMN s.a TO b", "ALTER TABLE u ADD COLUMN s.c VARCHAR")
same("renamed and added fields of a struct", "SELECT k, s.b, s.c FROM u WHERE k NOT BETWEEN 10 AND 290 ORDER BY k")
same("a condition on a renamed field", "SELECT k, s.b FROM u WHERE s.b > 590 ORDER BY k")
frazil("INSERT INTO u VALUES (600, [60], {'b': 61, 'c': 'of Frazil'})")
duck("INSERT INTO u VALUES (601, [61], {'b': 62, 'c': 'of DuckDB'})", "ALTER TABLE u DROP COLUMN s.b", "ALTER TABLE u ADD COLUMN s.b BIGINT")
frazil("INSERT INTO u VALUES (602, [62], {'c': 'again', 'b': 63})")
same("a field of a dropped one's name", "SELECT k, s.b, s.c FROM u WHERE k NOT BETWEEN 10 AND 290 ORDER BY k")
frazil("OPTIMIZE u")
same("a nested table that Frazil compacted", "SELECT k, pair[1], s.b, s.c FROM u WHERE k NOT BETWEEN 10 AND 290 ORDER BY k")
frazil(
    "CREATE TABLE v AS SELECT MAP {'a': 1, 'b': 2} AS m, [{'x': 1, 'y': ['p', 'q']}, {'x': NULL, 'y': NULL}] AS l, "
    "{'s': {'t': [1.5, 2.5]}} AS d"
)
frazil("INSERT INTO v VALUES (MAP {'c': 3}, [{'x': 2, 'y': ['r']}], {'s': {'t': NULL}}), (NULL, NULL, NULL)")
PARTS = "SELECT m['a'], m['c'], l[1]['x'], l[1]['y'][1], l[2]['x'], d['s']['t'][2] FROM v ORDER BY 1, 2, 3"
same("maps, lists of structs, structs of structs", PARTS)
duck("INSERT INTO v SELECT m, l, d FROM v WHERE m IS NOT NULL")
same("those that DuckDB copied", PARTS)
same("conditions on a file's statistics", "SELECT count(*), min(k) FROM t WHERE k > 19000")

ALL = "SELECT count(*), sum(k), count(title), max(title), count(note) FROM"
then = int(frazil("SHOW SNAPSHOTS")[0][0])
before = frazil(f"{ALL} t")
frazil("CREATE TABLE c CLONE t")
same("a clone", f"{ALL} c")
duck("DELETE FROM c WHERE k % 3 = 0", "INSERT INTO c (k, title) VALUES (-1, 'of the clone')")
same("a clone that DuckDB changed", f"{ALL} c")
frazil("UPDATE c SET note = NULL WHERE k > 9000")
same("a clone that both changed", f"{ALL} c")
assert same("what it was cloned from", f"{ALL} t") == before
frazil("CREATE SCHEMA other CLONE public")
same("a cloned schema", f"{ALL} other.c")
frazil("DROP SCHEMA other CASCADE")
frazil("UNDROP SCHEMA other")
same("a restored schema", f"{ALL} other.c")
duck("DELETE FROM t WHERE k < 5000")
with attached() as connection:
    theirs = [[str(value) for value in row] for row in connection.execute(f"{ALL} t AT (VERSION => {then})").fetchall()]
assert theirs == frazil(f"{ALL} t AT (SNAPSHOT => {then})") == before, "the past is the same for both"
duck("CREATE VIEW w AS SELECT k, title FROM t WHERE k > 8000")
frazil("ALTER VIEW w RENAME TO of_frazil")
same("a view that Frazil renamed", "SELECT count(*), sum(k), max(title) FROM of_frazil")
duck("ALTER VIEW of_frazil RENAME TO of_duckdb")
same("a view that DuckDB renamed", "SELECT count(*), sum(k), max(title) FROM of_duckdb")
frazil("DROP TABLE u")
done = frazil("VACUUM RETAIN 0 SECONDS")
assert int(done[0][1]) > 10 and int(done[0][2]) > 5, f"VACUUM found nothing to do: {done}"
print(f"ok  vacuumed: {done}")
for table in ("t", "c", "other.t", "other.c"):
    same(f"{table} after a vacuum", f"{ALL} {table}")
duck("INSERT INTO c (k) VALUES (-2)")
frazil("INSERT INTO c (k) VALUES (-3)")
same("rows of both after a vacuum", f"{ALL} c")
