"""Drives snowflake-connector-python against a server: `python connector.py HOST PORT [TEST…]`. Ends with 1 if a test fails."""

import datetime
import decimal
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
import urllib.request
import warnings

warnings.filterwarnings("ignore", category=FutureWarning)

import snowflake.connector
from snowflake.connector import DictCursor
from snowflake.connector.errors import DatabaseError, Error, ProgrammingError

D = decimal.Decimal
UTC = datetime.timezone.utc
VERSION = int(snowflake.connector.__version__.split(".")[0])
HOST, PORT = sys.argv[1], int(sys.argv[2])
SPOKEN = {"protocol": os.environ.get("FRAZIL_PROTOCOL", "http")}
if SPOKEN["protocol"] == "https":
    # The fourth version reads REQUESTS_CA_BUNDLE, and need not ask anybody whether a certificate of the tests' own has been revoked.
    SPOKEN |= {"disable_ocsp_checks": True} if VERSION < 5 else {"custom_root_store_path": os.environ["REQUESTS_CA_BUNDLE"]}


def connect(**options):
    options = {"user": "tester", "password": "secret", "account": "local", "host": HOST, "port": PORT, "login_timeout": 60} | SPOKEN | options
    return snowflake.connector.connect(**options)


def rows(connection, sql, *args, **kwargs):
    return connection.cursor().execute(sql, *args, **kwargs).fetchall()


def expect(got, wanted):
    assert got == wanted, f"\n   got {got!r}\nwanted {wanted!r}"


def fails(call, errno=None, sqlstate=None, said=None):
    try:
        call()
    except Error as error:
        assert errno is None or error.errno == errno, f"errno {error.errno}, wanted {errno}: {error}"
        assert sqlstate is None or error.sqlstate == sqlstate, f"sqlstate {error.sqlstate}, wanted {sqlstate}: {error}"
        assert said is None or said in str(error), f"{said!r} is not in {error}"
        return error
    raise AssertionError("nothing failed")


TYPES = [
    ("cast(null as int)", None),
    ("true", True),
    ("false", False),
    ("cast(-128 as tinyint)", -128),
    ("cast(32767 as smallint)", 32767),
    ("cast(-2147483648 as int)", -2147483648),
    ("9223372036854775807", 9223372036854775807),
    ("-9223372036854775808", -9223372036854775808),
    ("arrow_cast(18446744073709551615, 'UInt64')", 18446744073709551615),
    ("cast('12345678901234.5678' as decimal(18,4))", D("12345678901234.5678")),
    ("cast('-0.01' as decimal(5,2))", D("-0.01")),
    ("cast('99999999999999999999999999999999999999' as number(38,0))", 99999999999999999999999999999999999999),
    ("cast('-1234567890123456789.0123456789' as number(38,10))", D("-1234567890123456789.0123456789")),
    ("cast('1.5' as float)", 1.5),
    ("1.5e0", 1.5),
    ("-0.10", D("-0.10")),
    ("12345678901234567890123", 12345678901234567890123),
    ("cast('1.7976931348623157e308' as double)", 1.7976931348623157e308),
    ("cast('inf' as double)", math.inf),
    ("cast('-inf' as double)", -math.inf),
    ("cast(null as double)", None),
    ("''", ""),
    ("'it''s'", "it's"),
    ("'größe 🦀 עברית'", "größe 🦀 עברית"),
    ("x'00ff7f'", bytearray(b"\x00\xff\x7f")),
    ("cast('' as binary)", bytearray(b"")),
    ("date '1970-01-01'", datetime.date(1970, 1, 1)),
    ("date '0001-01-01'", datetime.date(1, 1, 1)),
    ("date '9999-12-31'", datetime.date(9999, 12, 31)),
    ("cast('23:59:59.999999' as time)", datetime.time(23, 59, 59, 999999)),
    ("cast('00:00:00' as time)", datetime.time(0, 0)),
    ("timestamp '2024-02-29 12:30:00.123456'", datetime.datetime(2024, 2, 29, 12, 30, 0, 123456)),
    ("timestamp '1969-12-31 23:59:59.5'", datetime.datetime(1969, 12, 31, 23, 59, 59, 500000)),
    ("cast('1000-01-01 00:00:00.000001' as timestamp_ntz(6))", datetime.datetime(1000, 1, 1, 0, 0, 0, 1)),
    ("cast('9999-12-31 23:59:59' as timestamp_ntz(0))", datetime.datetime(9999, 12, 31, 23, 59, 59)),
    ("cast('2024-07-01T12:00:00.25Z' as timestamp_tz)", datetime.datetime(2024, 7, 1, 12, 0, 0, 250000, tzinfo=UTC)),
    ("arrow_cast('2024-07-01T12:00:00Z', 'Timestamp(ms, \"Europe/Berlin\")')", datetime.datetime(2024, 7, 1, 14, 0, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))),
    ("null", None),
]


def check_types(connection):
    for sql, wanted in TYPES:
        got = rows(connection, f"select {sql} as v")[0][0]
        same = got == wanted and (wanted is None or isinstance(got, (type(wanted), bytes)))
        assert same, f"{sql}: got {got!r} ({type(got).__name__}), wanted {wanted!r}"
        if isinstance(wanted, datetime.datetime) and wanted.tzinfo:
            expect(got.utcoffset(), wanted.utcoffset())
    got = rows(connection, "select cast('nan' as double), cast(null as double), 0.1")[0]
    assert math.isnan(got[0]) and got[1:] == (None, D("0.1")), got
    nested = rows(connection, "select [1, null, 3], {'a': 'x', 'b': [true]}")[0]
    expect([json.loads(value) for value in nested], [[1, None, 3], {"a": "x", "b": [True]}])
    # Several rows, with nulls between.
    expect(
        rows(connection, "select * from (values (1, 'a', 1.5), (null, null, null), (3, 'c', -1.5)) as t(a, b, c) order by a nulls last"),
        [(1, "a", D("1.5")), (3, "c", D("-1.5")), (None, None, None)],
    )


def test_types(connection):
    check_types(connection)


def test_types_as_json(connection):
    with connect(session_parameters={"PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON"}) as other:
        check_types(other)


def test_description(connection):
    cursor = connection.cursor()
    cursor.execute("select 1 as a, 'x' as \"b\", cast(1 as number(10,2)) as \"C\", date '2024-01-01' as \"Mixed\", 1.5e0 as f where false")
    expect([column.name for column in cursor.description], ["A", "b", "C", "Mixed", "F"])
    expect([column.type_code for column in cursor.description], [0, 2, 0, 3, 1])
    expect((cursor.description[2].precision, cursor.description[2].scale), (10, 2))
    expect(cursor.fetchall(), [])
    described = cursor.describe("select 1 as a, cast(null as varchar) as b")
    expect([column.name for column in described], ["A", "B"])
    # Nothing was run.
    cursor.execute("create or replace table described (a int)")
    cursor.describe("insert into described values (1)")
    expect(rows(connection, "select count(*) from described"), [(0,)])
    expect(connection.cursor(DictCursor).execute("select 1 as a, 2 as \"a\"").fetchall(), [{"A": 1, "a": 2}])


def test_names(connection):
    cursor = connection.cursor()
    cursor.execute("create or replace table Orders (id int, \"Mixed\" varchar, \"lower\" int)")
    cursor.execute("insert into orders values (1, 'x', 2)")
    expect(rows(connection, 'select id, "ID" + 1 as n, "Mixed", "lower" from "ORDERS"'), [(1, 2, "x", 2)])
    expect([column.name for column in cursor.execute("select * from ORDERS").description], ["ID", "Mixed", "lower"])
    fails(lambda: rows(connection, 'select * from "orders"'), errno=2003)
    fails(lambda: cursor.execute('create table "orders" (a int)'), said="in case only")
    tables = {row[1] for row in rows(connection, "show tables")}
    assert "ORDERS" in tables, tables
    expect(rows(connection, "select table_name, column_name from information_schema.columns where table_name = 'ORDERS' order by ordinal_position"), [("ORDERS", "ID"), ("ORDERS", "Mixed"), ("ORDERS", "lower")])
    cursor.execute("create schema if not exists other")
    cursor.execute("use schema other")
    expect((connection.schema, connection.database), ("OTHER", "FRAZIL"))
    expect(rows(connection, "select current_schema(), current_database(), current_user(), current_role()")[0][:2], ("OTHER", "FRAZIL"))
    fails(lambda: cursor.execute("select * from orders"), errno=2003)
    cursor.execute("use schema public")
    with connect(database="frazil", schema="other") as other:
        expect((other.database, other.schema), ("FRAZIL", "OTHER"))


VALUES = [
    None, True, False, 0, -5, 2**62, 12345678901234567890123, 1.5, -0.0, 1e300, D("1.25"), D("-123456789012345678901234567.890"),
    "", "it's", 'a "b" \\ c\n\t%s ? :1 -- /* ; $$ 🦀', b"\x00\xff", datetime.date(2024, 2, 29), datetime.date(1, 1, 1), datetime.date(1900, 1, 1),
    datetime.time(1, 2, 3, 4), datetime.datetime(2024, 2, 29, 1, 2, 3, 456789), datetime.datetime(1969, 12, 31, 23, 59, 59, 1),
]


def test_bindings(connection):
    for style, mark in (("qmark", "?"), ("numeric", ":1"), ("pyformat", "%s")):
        with connect(paramstyle=style) as other:
            for value in VALUES:
                if style == "pyformat" and isinstance(value, (datetime.time, datetime.date, bytes, D, float)):
                    continue  # Written as text by the client.
                got = rows(other, f"select {mark}", (value,))[0][0]
                if isinstance(value, D):
                    got = D(got)
                assert got == value, f"{style}: got {got!r}, wanted {value!r}"
    with connect(paramstyle="qmark") as other:
        expect(rows(other, "select ? + ?, ?", (1, 2, "x")), [(3, "x")])
        expect(rows(other, "select count(*) from (values (1), (2), (3)) as t(a) where a >= ? and a < ?", (2, 3)), [(1,)])
        fails(lambda: rows(other, "select ?, ?", (1,)), said="placeholders")
        stamp = datetime.datetime(2024, 7, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
        got = rows(other, "select ?", (("TIMESTAMP_TZ", stamp),))[0][0]
        expect(got, stamp)
    with connect(paramstyle="numeric") as other:
        expect(rows(other, "select :2 as a, :1 as b, :2 as c", (1, 2)), [(2, 1, 2)])
    expect(rows(connection, "select %(a)s, %(b)s, 'x' like %(c)s", {"a": "it's", "b": 2, "c": "%"}), [("it's", 2, True)])
    injected = "x'); drop table nothing; --"
    expect(rows(connection, "select %s", (injected,)), [(injected,)])
    expect(rows(connection, "select 'a\\\\b', 'c\\'d', 'e\\nf'"), [("a\\b", "c'd", "e\nf")])


def test_executemany(connection):
    with connect(paramstyle="qmark") as other:
        cursor = other.cursor()
        cursor.execute("create or replace table many (id int, name varchar, price number(10,2), day date, at timestamp_ntz, ok boolean, f float, b binary)")
        days = datetime.date(2024, 1, 1)
        values = [
            (i, None if i % 7 == 0 else f"name {i}'s", D(i) / 4, days + datetime.timedelta(days=i % 400), datetime.datetime(2024, 1, 1, 0, 0, i % 60, i), i % 2 == 0, i / 3, bytes([i % 256]))
            for i in range(1, 2001)
        ]
        cursor.executemany("insert into many values (?, ?, ?, ?, ?, ?, ?, ?)", values)
        expect(cursor.rowcount, 2000)
        expect(rows(other, "select * from many order by id"), values)
        cursor.executemany("insert into many (id, name) values (?, upper(?))", [(3001, "a"), (3002, None)])
        expect(rows(other, "select id, name from many where id > 3000 order by id"), [(3001, "A"), (3002, None)])
        cursor.executemany("update many set name = ? where id = ?", [("one", 1), ("two", 2)])
        expect(rows(other, "select name from many where id <= 2 order by id"), [("one",), ("two",)])
    connection.cursor().executemany("insert into many (id, name) values (%s, %s)", [(4001, "x"), (4002, "it's")])
    expect(rows(connection, "select name from many where id > 4000 order by id"), [("x",), ("it's",)])


def test_changes(connection):
    cursor = connection.cursor()
    status = cursor.execute("create or replace table changes (id int, v varchar)").fetchall()
    assert len(status) == 1 and isinstance(status[0][0], str), status
    expect((cursor.execute("insert into changes values (1, 'a'), (2, 'b'), (3, 'c')").rowcount, cursor.fetchall()), (3, [(3,)]))
    expect(cursor.execute("update changes set v = 'x' where id > 1").rowcount, 2)
    expect(cursor.execute("delete from changes where id = 1").rowcount, 1)
    cursor.execute("merge into changes c using (values (2, 'm'), (9, 'n')) as s(id, v) on c.id = s.id when matched then update set v = s.v when not matched then insert (id, v) values (s.id, s.v)")
    expect(cursor.rowcount, 2)
    expect(rows(connection, "select * from changes order by id"), [(2, "m"), (3, "x"), (9, "n")])
    expect(cursor.execute("select * from changes").rowcount, 3)
    expect(cursor.execute("explain select 1").fetchall() != [], True)


def test_errors(connection):
    error = fails(lambda: rows(connection, "selec 1"), errno=1003, sqlstate="42601")
    assert isinstance(error, ProgrammingError), error
    fails(lambda: rows(connection, "select * from nowhere"), errno=2003, sqlstate="42P01", said="nowhere")
    fails(lambda: rows(connection, "select nothing from (select 1 as a)"), errno=904, sqlstate="42703")
    fails(lambda: rows(connection, "select cast('x' as int)"), sqlstate="22000")
    fails(lambda: rows(connection, "select 1 / 0"), sqlstate="22000")
    fails(lambda: rows(connection, "select 1; select 2"), said="Actual statement count 2 did not match the desired statement count 1")
    fails(lambda: rows(connection, "put file:///tmp/x @~"), said="not supported")
    fails(lambda: rows(connection, "create table t (a variant)"), sqlstate="0A000", said="VARIANT")
    fails(lambda: rows(connection, "create table t (a int autoincrement)"), sqlstate="0A000", said="AUTOINCREMENT")
    fails(lambda: rows(connection, "create table t (a int primary key)"), sqlstate="0A000")
    rows(connection, "create or replace table n (a int not null)")
    error = fails(lambda: rows(connection, "insert into n values (null)"), errno=100072, sqlstate="23502")
    fails(lambda: rows(connection, "alter session set WEEK_START = 1"), sqlstate="0A000", said="WEEK_START")
    # The connection lives on.
    expect(rows(connection, "select 1"), [(1,)])


def test_large_results(connection):
    count = 300_000
    sql = f"select cast(value as bigint) as id, 'row ' || value as name, cast(value as double) / 3 as f, date '2020-01-01' + cast(value % 1000 as int) as day, cast(value as number(20,3)) as d from generate_series(1, {count}) order by value"
    cursor = connection.cursor().execute(sql)
    got = cursor.fetchall()
    expect(len(got), count)
    for index in (0, 1, 9_999, 10_000, 10_001, 123_456, count - 1):
        expect(got[index], (index + 1, f"row {index + 1}", (index + 1) / 3, datetime.date(2020, 1, 1) + datetime.timedelta(days=(index + 1) % 1000), D(index + 1)))
    expect(sum(row[0] for row in got), count * (count + 1) // 2)
    with connect(session_parameters={"PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON"}) as other:
        expect(rows(other, sql), got)
    # In pieces.
    cursor.execute(sql)
    expect((cursor.fetchone()[0], [row[0] for row in cursor.fetchmany(3)]), (1, [2, 3, 4]))
    total = sum(len(batch) for batch in iter(lambda: cursor.fetchmany(50_000), []))
    expect(total, count - 4)


def test_arrow_and_pandas(connection):
    sql = "select cast(value as bigint) as id, case when value % 3 = 0 then null else 'n' || value end as name, cast(value as number(12,2)) / 4 as price, cast('2024-01-01' as timestamp) as at, cast(value as double) as f from generate_series(1, 25000) order by value"
    table = connection.cursor().execute(sql).fetch_arrow_all()
    expect((table.num_rows, table.column_names), (25000, ["ID", "NAME", "PRICE", "AT", "F"]))
    expect(table.column("ID").to_pylist()[-1], 25000)
    frame = connection.cursor().execute(sql).fetch_pandas_all()
    expect((len(frame), int(frame["ID"].sum()), int(frame["NAME"].isna().sum())), (25000, 25000 * 25001 // 2, 8333))
    expect(float(frame["PRICE"].iloc[1]), 0.5)
    expect(str(frame["AT"].iloc[0]), "2024-01-01 00:00:00")
    batches = connection.cursor().execute(sql).get_result_batches()
    assert len(batches) > 1, batches
    expect(sum(batch.to_arrow().num_rows for batch in batches), 25000)
    empty = connection.cursor().execute(sql.replace("25000", "0")).fetch_pandas_all()
    expect((len(empty), list(empty.columns)), (0, ["ID", "NAME", "PRICE", "AT", "F"]))
    edges = "select cast('nan' as double) as a, cast('inf' as double) as b, cast(null as date) as c, cast('9999-12-31' as date) as d, cast('0001-01-01 00:00:00' as timestamp_ntz(6)) as e, cast('99999999999999999999999999999999999999' as number(38,0)) as f"
    edge = connection.cursor().execute(edges).fetch_arrow_all().to_pylist()[0]
    assert math.isnan(edge["A"]) and edge["B"] == math.inf and edge["C"] is None, edge
    expect((edge["D"], edge["E"]), (datetime.date(9999, 12, 31), datetime.datetime(1, 1, 1)))
    expect(int(edge["F"]), 99999999999999999999999999999999999999)


def test_transactions(connection):
    cursor = connection.cursor()
    cursor.execute("create or replace table moves (a int)")
    cursor.execute("begin")
    cursor.execute("insert into moves values (1)")
    with connect() as other:
        expect(rows(other, "select count(*) from moves"), [(0,)])
        connection.rollback()
        expect(rows(connection, "select count(*) from moves"), [(0,)])
        cursor.execute("begin transaction")
        cursor.execute("begin")  # As Snowflake: nothing.
        cursor.execute("insert into moves values (2)")
        connection.commit()
        connection.commit()  # Nothing to commit.
        connection.rollback()
        expect(rows(other, "select * from moves"), [(2,)])
        other.autocommit(False)
        expect(other.cursor().execute("insert into moves values (3)").rowcount, 1)
        other.cursor().execute("insert into moves values (4)")
        expect(rows(connection, "select count(*) from moves"), [(1,)])
        other.rollback()
        other.cursor().execute("insert into moves values (5)")
        other.commit()
        other.autocommit(True)
        expect(rows(connection, "select * from moves order by a"), [(2,), (5,)])
    third = connect(autocommit=False)
    third.cursor().execute("delete from moves")
    expect(rows(third, "select count(*) from moves"), [(0,)])
    third.close()
    expect(rows(connection, "select count(*) from moves"), [(2,)])


def test_session(connection):
    cursor = connection.cursor()
    version = rows(connection, "select current_version()")[0][0]
    assert version.count(".") == 2, version
    first = cursor.execute("select 1").sfqid
    expect(rows(connection, "select last_query_id()"), [(first,)])
    cursor.execute("alter session set timezone = 'Europe/Berlin'")
    stamp = rows(connection, "select cast('2024-07-01T12:00:00Z' as timestamp with time zone)")[0][0]
    expect((stamp.utcoffset(), stamp.astimezone(UTC)), (datetime.timedelta(hours=2), datetime.datetime(2024, 7, 1, 12, tzinfo=UTC)))
    cursor.execute("alter session unset timezone")
    cursor.execute("alter session set query_tag = 'of a test'")
    expect([row[:2] for row in rows(connection, "show parameters like 'query_tag'")], [("QUERY_TAG", "of a test")])
    cursor.execute("use warehouse small")
    expect(rows(connection, "select current_warehouse()"), [("SMALL",)])
    expect([row[0] for row in rows(connection, "show warehouses")], ["SMALL"])
    cursor.execute("alter session set statement_timeout_in_seconds = 1")
    fails(lambda: rows(connection, SLOW), sqlstate="57005")
    cursor.execute("alter session unset statement_timeout_in_seconds")
    assert "FRAZIL" in [row[1] for row in rows(connection, "show databases")]
    assert "PUBLIC" in [row[1] for row in rows(connection, "show schemas")]
    cursor.execute("create or replace table listed (a int not null, b varchar default 'x', c number(10,2), d timestamp_ntz, e float)")
    expect(
        [(row[0], row[1], row[3]) for row in rows(connection, "desc table listed")],
        [("A", "NUMBER(19,0)", "N"), ("B", "VARCHAR(16777216)", "Y"), ("C", "NUMBER(10,2)", "Y"), ("D", "TIMESTAMP_NTZ(9)", "Y"), ("E", "FLOAT", "Y")],
    )
    fails(lambda: rows(connection, "desc table never"), errno=2003)
    expect([row[2] for row in rows(connection, "show columns in table listed")], ["A", "B", "C", "D", "E"])
    expect(rows(connection, "show primary keys in table listed"), [])


SLOW = "select sum(value) from generate_series(1, 1000000000000)"


def test_asynchronous(connection):
    cursor = connection.cursor()
    cursor.execute_async("select 42 as a, 'x' as b")
    query = cursor.sfqid
    while connection.is_still_running(connection.get_query_status(query)):
        time.sleep(0.05)
    other = connection.cursor()
    other.get_results_from_sfqid(query)
    expect(other.fetchall(), [(42, "x")])
    cursor.execute_async("select cast('x' as int)")
    failed = cursor.sfqid
    while connection.is_still_running(connection.get_query_status(failed)):
        time.sleep(0.05)
    try:
        connection.get_query_status_throw_if_error(failed)
        raise AssertionError("nothing failed")
    except ProgrammingError as error:
        assert "x" in str(error), error
    cursor.execute_async(SLOW)
    slow = cursor.sfqid
    assert connection.is_still_running(connection.get_query_status(slow))
    assert cursor.abort_query(slow)
    expect(connection.get_query_status(slow).name in ("ABORTED", "FAILED_WITH_ERROR"), True)


def phases(sql):
    statements = json.load(urllib.request.urlopen(f"http://{HOST}:{PORT}/api/v2/statements"))["statements"]
    return {one["statementHandle"]: one["phase"] for one in statements if one["sql"] == sql}


def until(condition, what):
    deadline = time.time() + 60
    while not condition():
        assert time.time() < deadline, what
        time.sleep(0.1)


def test_cancel(connection):
    """Version 4 cancels by its own time-out and when it is interrupted; another thread can stop a statement of either."""
    if VERSION == 4:
        fails(lambda: connection.cursor().execute(SLOW + " -- timeout", timeout=2), errno=604)
        threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            connection.cursor().execute(SLOW + " -- interrupt")
            raise AssertionError("nothing was cancelled")
        except KeyboardInterrupt:
            pass
        until(lambda: set(phases(SLOW + " -- interrupt").values()) == {"cancelled"}, phases(SLOW + " -- interrupt"))
    failures = []
    text = SLOW + f" -- {time.time()}"
    thread = threading.Thread(target=lambda: failures.append(fails(lambda: rows(connection, text), errno=604)))
    thread.start()
    until(lambda: phases(text), "it is not there")
    with connect() as other:
        assert other.cursor().abort_query(next(iter(phases(text))))
    thread.join(60)
    assert len(failures) == 1, failures
    expect(rows(connection, "select 1"), [(1,)])


def test_several_statements(connection):
    cursor = connection.cursor()
    cursor.execute("select 1 as a; create or replace table several (a int); insert into several values (1), (2); select * from several order by a;", num_statements=4)
    expect(cursor.fetchall(), [(1,)])
    assert cursor.nextset()
    assert cursor.nextset()
    expect(cursor.fetchall(), [(2,)])
    assert cursor.nextset()
    expect(cursor.fetchall(), [(1,), (2,)])
    assert not cursor.nextset()
    fails(lambda: cursor.execute("select 1; select 2; select 3", num_statements=2), said="did not match")
    cursor.execute("select 1; select 2; select ';'", num_statements=0)
    fails(lambda: cursor.execute("insert into several values (3); select * from nowhere; insert into several values (4)", num_statements=0), errno=2003)
    expect(rows(connection, "select max(a) from several"), [(3,)])
    expect(len(list(connection.execute_string("select 1; select 'a;b'; select 3"))), 3)


def test_concurrency(connection):
    failures = []

    def work(number):
        try:
            with connect() as own:
                for step in range(10):
                    expect(rows(own, f"select {number} * 100 + {step}, count(*) from generate_series(1, 1000)"), [(number * 100 + step, 1000)])
        except BaseException:
            failures.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures, failures[0]


def test_closed_sessions(connection):
    other = connect()
    cursor = other.cursor()
    cursor.execute("begin")
    cursor.execute("create or replace table gone (a int)")
    other.close()
    fails(lambda: rows(connection, "select * from gone"), errno=2003)
    fails(lambda: cursor.execute("select 1"))


def test_expired_tokens(connection):
    """The server's tokens are valid for two seconds, so that the client renews them."""
    other = connect()
    expect(rows(other, "select 1"), [(1,)])
    cursor = other.cursor()
    cursor.execute("use schema information_schema")
    time.sleep(3)
    expect(rows(other, "select current_schema()"), [("INFORMATION_SCHEMA",)])
    time.sleep(3)
    expect(rows(other, "select 2"), [(2,)])
    other.close()


def main():
    wanted = sys.argv[3:]
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    chosen = {name: test for name, test in tests.items() if (name in wanted) or (not wanted and name != "test_expired_tokens")}
    failed = []
    for name, test in chosen.items():
        begun = time.time()
        connection = None
        try:
            connection = connect()
            test(connection)
            print(f"ok {name} {time.time() - begun:.1f} s", flush=True)
        except BaseException:
            failed.append(name)
            print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        finally:
            if connection is not None:
                connection.close()
    if failed or len(chosen) < len(wanted):
        print(f"{len(failed)} of {len(chosen)} tests failed: {', '.join(failed)}", flush=True)
        sys.exit(1)
    print(f"{len(chosen)} tests passed", flush=True)


main()
