"""Drives snowflake-connector-python, and SQLAlchemy where it is installed, at an instance with users: `python users.py HOST PORT CREDENTIALS`.

CREDENTIALS is a JSON file: {"user", "password", "token", "restricted", "expired", "key", "other_key"}; keys are PEM files."""

import json
import sys
import traceback
import warnings

warnings.filterwarnings("ignore")

import snowflake.connector
from cryptography.hazmat.primitives import serialization
from snowflake.connector.errors import DatabaseError, Error, ForbiddenError, ProgrammingError

try:
    import sqlalchemy
except ImportError:
    sqlalchemy = None

HOST, PORT = sys.argv[1], int(sys.argv[2])
with open(sys.argv[3]) as file:
    GIVEN = json.load(file)


def key(name):
    with open(GIVEN[name], "rb") as file:
        private = serialization.load_pem_private_key(file.read(), password=None)
    return private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def options(**given):
    return {"account": "local", "user": GIVEN["user"], "host": HOST, "port": PORT, "protocol": "http", "login_timeout": 60} | given


def token(name):
    return options(authenticator="PROGRAMMATIC_ACCESS_TOKEN", token=GIVEN[name])


def key_pair(name, **given):
    return options(authenticator="SNOWFLAKE_JWT", private_key=key(name), **given)


WAYS_IN = {
    "password": lambda: options(password=GIVEN["password"]),
    "token": lambda: token("token"),
    "key pair": lambda: key_pair("key"),
}

# With what the refusal says: of a password nothing more than that it is wrong.
REFUSED = {
    "wrong password": (lambda: options(password="wrong-password"), "password is wrong"),
    "unknown user": (lambda: options(user="nobody", password=GIVEN["password"]), "password is wrong"),
    "forged token": (lambda: options(authenticator="PROGRAMMATIC_ACCESS_TOKEN", token=GIVEN["token"] + "x"), "token is not valid"),
    "expired token": (lambda: token("expired"), "has expired"),
    "another key": (lambda: key_pair("other_key"), "key-pair token is not valid"),
    "another user's key": (lambda: key_pair("key", user="boss"), "key-pair token is not valid"),
}


def expect(got, wanted):
    assert got == wanted, f"\n   got {got!r}\nwanted {wanted!r}"


def fails(call, kind, *words, **fields):
    try:
        call()
    except kind as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in {error}"
        for name, wanted in fields.items():
            assert getattr(error, name) == wanted, f"{name} is {getattr(error, name)!r}, not {wanted!r}: {error}"
        return
    raise AssertionError("nothing failed")


def rows(connection, sql):
    return connection.cursor().execute(sql).fetchall()


def used(connection):
    """What a log-in is good for, and what it is not."""
    expect(rows(connection, "select current_user(), current_role()"), [("ANN", "READER")])
    expect(rows(connection, "select a from frazil.s.open order by a"), [(1,), (2,)])
    cursor = connection.cursor()
    refused = dict(errno=3001, sqlstate="42501")
    fails(lambda: cursor.execute("insert into frazil.s.open values (3)"), ProgrammingError, "open", **refused)
    fails(lambda: cursor.execute("create user eve password = 'pass-word-of-eve'"), ProgrammingError, **refused)
    # What may not even be seen is as if it were not there.
    fails(lambda: cursor.execute("select * from frazil.s.closed"), ProgrammingError, "closed")
    expect(rows(connection, "select count(*) from frazil.s.open"), [(2,)])


def connector():
    for name, given in WAYS_IN.items():
        with snowflake.connector.connect(**given()) as connection:
            used(connection)
            if name == "password":
                rows(connection, "use role writer")
                rows(connection, "insert into frazil.s.open values (3)")
                rows(connection, "delete from frazil.s.open where a = 3")
                rows(connection, "use role reader")
        print(f"ok connector, {name}", flush=True)
    with snowflake.connector.connect(**token("restricted")) as connection:
        used(connection)
        fails(lambda: rows(connection, "use role writer"), ProgrammingError, sqlstate="42501")
    fails(lambda: snowflake.connector.connect(**token("restricted"), role="writer"), DatabaseError)
    with snowflake.connector.connect(**WAYS_IN["password"](), role="writer") as connection:
        expect(rows(connection, "select current_role()"), [("WRITER",)])
    fails(lambda: snowflake.connector.connect(**WAYS_IN["password"](), role="admin"), DatabaseError, "admin")
    for name, (given, said) in REFUSED.items():
        fails(lambda: snowflake.connector.connect(**given()), DatabaseError, said, errno=390100, sqlstate="28000")
        print(f"ok connector, {name}", flush=True)


def alchemy():
    from snowflake.sqlalchemy import URL

    def engine(given):
        given = {name: value for name, value in given.items() if name not in ("host", "port", "account", "user")}
        url = URL(account="local", user=given.pop("user", GIVEN["user"]), host=HOST, port=PORT, **({"password": given.pop("password")} if "password" in given else {}))
        return sqlalchemy.create_engine(url, connect_args=given)

    for name, given in WAYS_IN.items():
        with engine(given()).connect() as connection:
            ask = lambda sql: connection.execute(sqlalchemy.text(sql)).fetchall()
            expect([tuple(row) for row in ask("select a from frazil.s.open order by a")], [(1,), (2,)])
            try:
                ask("insert into frazil.s.open values (3)")
                raise AssertionError("nothing failed")
            except sqlalchemy.exc.ProgrammingError as error:
                assert error.orig.sqlstate == "42501", error
        print(f"ok SQLAlchemy, {name}", flush=True)
    for name in ["wrong password", "expired token", "another key"]:
        given, said = REFUSED[name]
        try:
            engine(given()).connect()
            raise AssertionError("nothing failed")
        except sqlalchemy.exc.DatabaseError as error:
            assert said in str(error), error
        print(f"ok SQLAlchemy, {name}", flush=True)


connector()
if sqlalchemy is not None:
    alchemy()
