"""Drives Frazil with the ADBC driver for Flight SQL: `drive.py URI`. Each check that fails is told; the exit code is 1 then."""

import datetime
import decimal
import math
import sys
import threading
import time
import traceback

import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions

URI = sys.argv[1]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def connect(**options):
    return dbapi.connect(URI, autocommit=True, **options)


def ask(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def table(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def update(connection, sql):
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_sql_query(sql)
        return cursor.adbc_statement.execute_update()


def refused(function, kind, *words):
    try:
        function()
    except kind as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in {error}"
        return error
    raise AssertionError(f"not refused: {words}")


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, not {wanted!r}"


@check
def statements_and_counts(c):
    equal(ask(c, "SELECT 1 AS a, 'x' AS b"), [(1, "x")])
    equal(update(c, "CREATE TABLE counted (a INT, b VARCHAR)"), 0)
    equal(update(c, "INSERT INTO counted VALUES (1, 'one'), (2, 'two'), (3, NULL)"), 3)
    equal(update(c, "UPDATE counted SET b = 'z' WHERE a <= 2"), 2)
    equal(update(c, "DELETE FROM counted WHERE a = 3"), 1)
    equal(ask(c, "SELECT a, b FROM counted ORDER BY a"), [(1, "z"), (2, "z")])
    # A cursor that executes a change has it done when it returns.
    for number in range(10, 20):
        with c.cursor() as cursor:
            cursor.execute(f"INSERT INTO counted VALUES ({number}, 'n')")
        equal(ask(c, f"SELECT count(*) FROM counted WHERE a = {number}"), [(1,)])
    equal(table(c, "SELECT * FROM counted WHERE false").num_rows, 0)


@check
def columns_before_rows(c):
    with c.cursor() as cursor:
        schema = cursor.adbc_execute_schema("SELECT 1 AS a, CAST(NULL AS VARCHAR) AS b")
        equal(schema.names, ["a", "b"])
        equal(schema.field("a").type, pa.int64())
        # Planned, and not run: it would never end.
        schema = cursor.adbc_execute_schema(
            "SELECT count(*) AS n FROM generate_series(1, 4000000000) a, generate_series(1, 4000000000) b"
        )
        equal(schema.names, ["n"])


@check
def parameters(c):
    equal(ask(c, "SELECT ? + 1, ?", [41, "héllo"]), [(42, "héllo")])
    equal(ask(c, "SELECT $2, $1, $2", [1, 2]), [(2, 1, 2)])
    equal(ask(c, "SELECT ?, ?, ?", [7, 7, 7]), [(7, 7, 7)])
    # In the order of the text, wherever they stand.
    sql = "SELECT x, ? AS p FROM (SELECT value AS x FROM generate_series(?, ?)) AS s WHERE x > ? ORDER BY x LIMIT ?"
    equal(ask(c, sql, ["p", 1, 9, 4, 2]), [(5, "p"), (6, "p")])
    hostile = ["'; DROP TABLE counted; --", "\"", "$1", "?", "\\", "line\nbreak", "\u202eright to left", "😀", "nul:\x00."]
    for value in hostile:
        equal(ask(c, "SELECT ?", [value]), [(value,)])
    equal(ask(c, "SELECT count(*) > 0 FROM counted"), [(True,)])
    with c.cursor() as cursor:
        wanted = cursor.adbc_prepare("SELECT a FROM counted WHERE a = ? AND b = ?")
        equal(wanted.field(0).type, pa.int32())
        equal(len(wanted), 2)
    refused(lambda: ask(c, "SELECT ?, ?", [1]), dbapi.Error, "2 placeholders")
    refused(lambda: ask(c, "SELECT ?"), dbapi.Error, "placeholder")


@check
def parameters_of_all_types(c):
    values = [
        (pa.bool_(), [True, False, None]),
        (pa.int8(), [-128, 127, None]),
        (pa.int16(), [-(2**15), 2**15 - 1]),
        (pa.int32(), [-(2**31), 2**31 - 1]),
        (pa.int64(), [-(2**63), 2**63 - 1]),
        (pa.uint8(), [0, 255]),
        (pa.uint64(), [0, 2**64 - 1]),
        (pa.float32(), [1.5, -0.0, math.inf]),
        (pa.float64(), [5e-324, 1.7976931348623157e308, math.nan, -math.inf]),
        (pa.string(), ["", "a", None]),
        (pa.large_string(), ["é"]),
        (pa.binary(), [b"", b"\x00\xff"]),
        (pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
        (pa.time64("us"), [datetime.time(0, 0), datetime.time(23, 59, 59, 999999)]),
        (pa.timestamp("us"), [datetime.datetime(1, 1, 1), datetime.datetime(2024, 2, 29, 1, 2, 3, 4)]),
        (pa.timestamp("ms", "UTC"), [datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc)]),
        (pa.decimal128(38, 0), [decimal.Decimal(10**38 - 1), decimal.Decimal(-(10**38) + 1)]),
        (pa.decimal128(10, 4), [decimal.Decimal("-123456.7891")]),
    ]
    for data_type, cases in values:
        for value in cases:
            bound = pa.record_batch([pa.array([value], data_type)], ["v"])
            with c.cursor() as cursor:
                cursor.execute("SELECT ? AS v", bound)
                got = cursor.fetch_arrow_table().column(0)
            if value is not None:
                equal(str(got.type).replace("string_view", "string"), str(data_type).replace("large_", ""))
            shown = got.to_pylist()[0]
            same = shown == value or (isinstance(value, float) and math.isnan(value) and math.isnan(shown))
            assert same, f"{data_type}: got {shown!r}, not {value!r}"


@check
def many_rows_of_parameters(c):
    update(c, "CREATE TABLE many (a INT, b VARCHAR)")
    with c.cursor() as cursor:
        cursor.executemany("INSERT INTO many VALUES (?, upper(?))", [(i, f"v{i}") for i in range(2000)])
        equal(cursor.rowcount, 2000)
        equal(ask(c, "SELECT count(*), sum(a), max(b) FROM many"), [(2000, 1999000, "V999")])
        cursor.executemany("UPDATE many SET b = ? WHERE a = ?", [("w", 1), ("x", 2), ("y", 3)])
        equal(cursor.rowcount, 3)
    equal(ask(c, "SELECT a, b FROM many WHERE a BETWEEN 1 AND 3 ORDER BY a"), [(1, "w"), (2, "x"), (3, "y")])

    # All of them or none.
    def half():
        with c.cursor() as cursor:
            cursor.executemany("UPDATE many SET a = CAST(? AS INT) WHERE a = 10", [("11",), ("no number",)])

    refused(half, dbapi.Error, "no number")
    equal(ask(c, "SELECT count(*) FROM many WHERE a = 10"), [(1,)])
    # A query runs for each row.
    with c.cursor() as cursor:
        statement = cursor.adbc_statement
        statement.set_sql_query("SELECT a, b FROM many WHERE a = ?")
        statement.prepare()
        statement.bind(*exported(pa.record_batch([pa.array([3, 1, 2], pa.int32())], ["a"])))
        handle, _ = statement.execute_query()
        rows = pa.RecordBatchReader._import_from_c(handle.address).read_all()
        equal(rows.column(0).to_pylist(), [3, 1, 2])


def exported(batch):
    array, schema = adbc_driver_manager.ArrowArrayHandle(), adbc_driver_manager.ArrowSchemaHandle()
    batch._export_to_c(array.address, schema.address)
    return array, schema


@check
def types_with_extremes(c):
    sql = """
        SELECT * FROM (VALUES
          (true, CAST(-128 AS TINYINT), CAST(32767 AS SMALLINT), 2147483647, -9223372036854775808,
           CAST('NaN' AS FLOAT), CAST('-Infinity' AS DOUBLE), CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)),
           '', DATE '0001-01-01', arrow_cast('9999-12-31T23:59:59.999999', 'Timestamp(Microsecond, None)'), X'00FF'),
          (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
        ) AS v(t, i8, i16, i32, i64, f, d, n, s, dt, ts, b) ORDER BY t NULLS LAST"""
    first, second = table(c, sql).to_pylist()
    assert math.isnan(first.pop("f")) and first.pop("d") == -math.inf
    equal(first["i8"], -128)
    equal(first["i16"], 32767)
    equal(first["i32"], 2147483647)
    equal(first["i64"], -(2**63))
    equal(first["n"], decimal.Decimal(10**38 - 1))
    equal(first["dt"], datetime.date(1, 1, 1))
    equal(first["b"], b"\x00\xff")
    equal(first["s"], "")
    equal(set(second.values()), {None})
    nested = table(c, "SELECT [1, NULL, 3] AS l, struct(1 AS a, 'b' AS b) AS s, [] AS e").to_pylist()[0]
    equal(nested["l"], [1, None, 3])
    equal(nested["s"], {"a": 1, "b": "b"})
    equal(nested["e"], [])
    dictionary = table(c, "SELECT arrow_cast('x', 'Dictionary(Int32, Utf8)') AS d")
    assert pa.types.is_dictionary(dictionary.schema.field("d").type)
    equal(dictionary.column(0).to_pylist(), ["x"])


@check
def what_there_is(c):
    update(c, "CREATE SCHEMA \"Odd schema\"")
    update(c, "CREATE TABLE \"Odd schema\".\"odd \"\"table\" (a INT NOT NULL, \"B c\" VARCHAR)")
    update(c, "CREATE VIEW odd_view AS SELECT a FROM \"Odd schema\".\"odd \"\"table\"")
    objects = c.adbc_get_objects(depth="all").read_all().to_pylist()
    catalog = next(one for one in objects if one["catalog_name"] == "frazil")
    schemas = {one["db_schema_name"]: one["db_schema_tables"] for one in catalog["catalog_db_schemas"]}
    equal([one["table_name"] for one in schemas["Odd schema"]], ["odd \"table"])
    columns = schemas["Odd schema"][0]["table_columns"]
    equal([(one["column_name"], one["ordinal_position"]) for one in columns], [("a", 1), ("B c", 2)])
    kinds = {one["table_name"]: one["table_type"] for one in schemas["public"]}
    equal(kinds["odd_view"], "VIEW")
    equal(kinds["counted"], "TABLE")
    found = c.adbc_get_objects(depth="tables", db_schema_filter="public", table_name_filter="odd%").read_all()
    names = [t["table_name"] for one in found.to_pylist() for s in one["catalog_db_schemas"] or [] for t in s["db_schema_tables"]]
    equal(names, ["odd_view"])
    schema = c.adbc_get_table_schema("odd \"table", db_schema_filter="Odd schema")
    equal(schema.field("a").nullable, False)
    equal(schema.names, ["a", "B c"])
    refused(lambda: c.adbc_get_table_schema("no such table"), dbapi.Error)
    equal(c.adbc_get_table_types(), ["TABLE", "VIEW"])
    info = c.adbc_get_info()
    equal(info["vendor_name"], "frazil")
    assert info["vendor_version"]


@check
def ingestion(c):
    rows = 200_000
    data = pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "text": pa.array([f"t{i % 100}" for i in range(rows)]),
            "f": pa.array([i / 2 if i % 7 else None for i in range(rows)], pa.float64()),
            "l": pa.array([[i, None] if i % 3 else None for i in range(rows)], pa.list_(pa.int32())),
        }
    )
    with c.cursor() as cursor:
        equal(cursor.adbc_ingest("taken", data.to_reader(max_chunksize=10_000), mode="create"), rows)
        equal(ask(c, "SELECT count(*), sum(id), count(f), count(l) FROM taken"), [(rows, rows * (rows - 1) // 2, *counts(data))])
        refused(lambda: cursor.adbc_ingest("taken", data, mode="create"), dbapi.Error, "already exists")
        equal(cursor.adbc_ingest("taken", data.slice(0, 10), mode="append"), 10)
        equal(cursor.adbc_ingest("taken", data.slice(0, 5), mode="create_append"), 5)
        equal(ask(c, "SELECT count(*) FROM taken"), [(rows + 15,)])
        equal(cursor.adbc_ingest("taken", data.slice(0, 7), mode="replace"), 7)
        equal(ask(c, "SELECT count(*) FROM taken"), [(7,)])
        refused(lambda: cursor.adbc_ingest("not there", data, mode="append"), dbapi.Error, "not there")
        # By name: in any order, and what is not sent is null.
        update(c, "CREATE TABLE by_name (a INT, b VARCHAR, c BIGINT)")
        cursor.adbc_ingest("by_name", pa.table({"b": ["x"], "a": pa.array([1], pa.int64())}), mode="append")
        equal(ask(c, "SELECT a, b, c FROM by_name"), [(1, "x", None)])
        refused(lambda: cursor.adbc_ingest("by_name", pa.table({"zz": [1]}), mode="append"), dbapi.Error, "zz")
        refused(lambda: cursor.adbc_ingest("tmp", pa.table({"a": [1]}), mode="create", temporary=True), dbapi.Error)
        cursor.adbc_ingest("in \"quotes\"", pa.table({"a\"b": [1]}), mode="create", db_schema_name="Odd schema")
        equal(ask(c, "SELECT \"a\"\"b\" FROM \"Odd schema\".\"in \"\"quotes\"\"\""), [(1,)])

        # A sender that breaks off leaves nothing.
        def broken():
            yield data.slice(0, 10).to_batches()[0]
            raise RuntimeError("the sender broke off")

        reader = pa.RecordBatchReader.from_batches(data.schema, broken())
        refused(lambda: cursor.adbc_ingest("never", reader, mode="create"), Exception)
        refused(lambda: ask(c, "SELECT * FROM never"), dbapi.Error, "never")


def counts(data):
    return tuple(len(data) - data.column(name).null_count for name in ("f", "l"))


@check
def transactions(_):
    one, other = dbapi.connect(URI), connect()
    update(one, "CREATE TABLE moved (a INT)")
    one.commit()
    equal(ask(one, "INSERT INTO moved VALUES (1)"), [(1,)])
    equal(ask(one, "SELECT count(*) FROM moved -- within"), [(1,)])
    equal(ask(other, "SELECT count(*) FROM moved"), [(0,)])
    one.rollback()
    equal(ask(one, "SELECT count(*) FROM moved -- after"), [(0,)])
    ask(one, "INSERT INTO moved VALUES (2)")
    one.commit()
    equal(ask(other, "SELECT a FROM moved"), [(2,)])
    # Of two that change the same rows, the later one fails, and can go on.
    ask(one, "UPDATE moved SET a = 3")
    ask(other, "UPDATE moved SET a = 4")
    refused(one.commit, dbapi.Error)
    # The driver takes its transaction for ended then, and needs another connection.
    one.close()
    one = dbapi.connect(URI)
    equal(ask(one, "SELECT a FROM moved"), [(4,)])
    one.close()
    other.close()


@check
def errors_say_what_is_wrong(c):
    refused(lambda: ask(c, "SELEC 1"), dbapi.ProgrammingError, "SELEC", "line 1")
    refused(lambda: ask(c, "SELECT * FROM missing_table"), dbapi.ProgrammingError, "missing_table", "not found")
    refused(lambda: ask(c, "SELECT 1 / (value - 1) FROM generate_series(1, 2)"), dbapi.Error, "zero")
    refused(lambda: ask(c, "SELECT 1; SELECT 2"), dbapi.Error)
    refused(lambda: ask(c, "SET datafusion.runtime.memory_limit = '1G'"), dbapi.Error)
    # A connection without a session has nothing that a USE could change.
    refused(lambda: ask(c, "USE frazil.main"), dbapi.Error, "session")
    equal(ask(c, "SELECT 1"), [(1,)])


@check
def sessions(_):
    plain = connect()
    refused(lambda: setattr(plain, "adbc_current_db_schema", "main"), dbapi.Error, "cookies")
    plain.close()
    c = connect(db_kwargs={DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"})
    equal((c.adbc_current_catalog, c.adbc_current_db_schema), ("frazil", "public"))
    ask(c, "SELECT 1")
    c.adbc_current_db_schema = "main"
    equal(c.adbc_current_db_schema, "main")
    update(c, "CREATE TABLE in_main (a INT)")
    equal(ask(c, "SELECT count(*) FROM frazil.main.in_main"), [(0,)])
    refused(lambda: setattr(c, "adbc_current_catalog", "nowhere"), dbapi.Error)
    key = "adbc.flight.sql.session.option."
    c.adbc_connection.set_options(**{key + "timezone": "+02:00"})
    equal(c.adbc_connection.get_option(key + "datafusion.execution.time_zone"), "+02:00")
    refused(lambda: c.adbc_connection.set_options(**{key + "no.such.setting": "1"}), Exception, "invalid name")
    ask(c, "USE frazil.public")
    equal(c.adbc_current_db_schema, "public")
    c.close()


@check
def a_cancelled_query_ends(c):
    cursor = c.cursor()
    cursor.execute("SELECT b.value FROM generate_series(1, 1000) a, generate_series(1, 1000000000) b")
    threading.Timer(0.5, cursor.adbc_cancel).start()
    refused(cursor.fetch_arrow_table, Exception)
    cursor.close()
    nothing_runs(c)


def nothing_runs(_):
    import json
    import urllib.request

    address = URI.replace("grpc://", "http://") + "/api/v2/cluster"
    deadline = time.monotonic() + 30
    while True:
        cluster = json.load(urllib.request.urlopen(address))
        if all(one["running_tasks"] == 0 for one in cluster["executors"]) and cluster["statements_running"] == 0:
            return
        assert time.monotonic() < deadline, f"still running: {cluster}"
        time.sleep(0.05)


@check
def a_large_result_comes_whole(c):
    rows = 2_000_000
    got = table(c, f"SELECT value AS i, value % 1000 AS m, CAST(value AS VARCHAR) AS s FROM generate_series(1, {rows})")
    equal(got.num_rows, rows)
    import pyarrow.compute as pc

    equal(pc.sum(got.column("i")).as_py(), rows * (rows + 1) // 2)
    equal(pc.sum(pc.utf8_length(got.column("s").cast(pa.string()))).as_py(), sum(len(str(i)) for i in range(1, rows + 1)))


@check
def partitions_are_fetched_apart(c):
    with c.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("SELECT value AS i FROM generate_series(1, 1000)")
        equal(schema.names, ["i"])
        rows = 0
        for partition in partitions:
            cursor.adbc_read_partition(partition)
            rows += cursor.fetch_arrow_table().num_rows
        equal(rows, 1000)


@check
def many_clients_at_once(_):
    failures = []

    def client(number):
        try:
            with connect() as own:
                for round in range(20):
                    equal(ask(own, "SELECT ? * 2, ?", [number, round]), [(number * 2, round)])
                    got = table(own, f"SELECT value FROM generate_series(1, {1000 + number})")
                    equal(got.num_rows, 1000 + number)
        except BaseException:
            failures.append(traceback.format_exc())

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures, failures[0]


def main():
    failed = 0
    for function in CHECKS:
        name = function.__name__
        try:
            with connect() as connection:
                function(connection)
            print(f"ok {name}", flush=True)
        except BaseException:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)


main()
