"""Drives the ADBC driver for Flight SQL at an instance with users: `users.py URI CREDENTIALS`; ../snowflake/users.py says what those are.

The driver makes no signed tokens: "signed" and "signed_by_other" are in the file."""

import json
import sys

import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
from adbc_driver_flightsql import DatabaseOptions

URI = sys.argv[1]
with open(sys.argv[2]) as file:
    GIVEN = json.load(file)


def connect(**options):
    return dbapi.connect(URI, db_kwargs=options, autocommit=True)


def password(user, password):
    return {"username": user, "password": password}


def bearer(token):
    return {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}


def ask(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def refused(call, code, *words):
    try:
        call()
    except adbc_driver_manager.Error as error:
        assert error.status_code == code, f"{error.status_code}: {error}"
        for word in words:
            assert word in str(error), f"{word!r} is not in {error}"
        return
    raise AssertionError(f"not refused: {words}")


CODES = adbc_driver_manager.AdbcStatusCode
for name, options in {
    "password": password(GIVEN["user"], GIVEN["password"]),
    "token": bearer(GIVEN["token"]),
    "restricted token": bearer(GIVEN["restricted"]),
    "key pair": bearer(GIVEN["signed"]),
}.items():
    with connect(**options) as connection:
        assert ask(connection, "select current_user(), current_role()") == [("ann", "reader")], name
        assert ask(connection, "select a from s.open order by a") == [(1,), (2,)], name
        refused(lambda: ask(connection, "insert into s.open values (3)"), CODES.UNAUTHORIZED, "open")
        refused(lambda: ask(connection, "select * from s.closed"), CODES.NOT_FOUND, "closed")
    print(f"ok {name}")

for name, (options, said) in {
    "wrong password": (password(GIVEN["user"], "wrong-password"), "password is wrong"),
    "forged token": (bearer(GIVEN["token"] + "x"), "token is not valid"),
    "expired token": (bearer(GIVEN["expired"]), "has expired"),
    "another key": (bearer(GIVEN["signed_by_other"]), "key-pair token is not valid"),
    "nothing": ({}, "log in"),
}.items():
    # Without a handshake, the first call is what is refused.
    refused(lambda: ask(connect(**options), "select 1"), CODES.UNAUTHENTICATED, said)
    print(f"ok {name}")
