"""Drives snowflake-sqlalchemy against a server: `python alchemy.py HOST PORT`. Ends with 1 if something is not as it should be."""

import datetime
import decimal
import sys
import warnings

warnings.filterwarnings("ignore")

import sqlalchemy as sa
from snowflake.sqlalchemy import URL, TIMESTAMP_NTZ
from sqlalchemy.orm import Session, declarative_base

HOST, PORT = sys.argv[1], int(sys.argv[2])


def expect(got, wanted):
    assert got == wanted, f"\n   got {got!r}\nwanted {wanted!r}"


url = URL(account="local", user="tester", password="secret", host=HOST, port=PORT, database="frazil", schema="public")
engine = sa.create_engine(url, connect_args={"protocol": "http"})

metadata = sa.MetaData()
goods = sa.Table(
    "goods",
    metadata,
    sa.Column("id", sa.Integer),
    sa.Column("name", sa.String(50)),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Column("weight", sa.Float),
    sa.Column("day", sa.Date),
    sa.Column("at", TIMESTAMP_NTZ),
    sa.Column("made", sa.DateTime),
    sa.Column("ok", sa.Boolean),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("Mixed", sa.Text),
)
metadata.drop_all(engine)
metadata.create_all(engine)
metadata.create_all(engine)  # It is there already.

ROWS = [
    dict(id=1, name="it's", price=decimal.Decimal("1.25"), weight=1.5, day=datetime.date(2024, 2, 29), at=datetime.datetime(2024, 2, 29, 1, 2, 3), made=datetime.datetime(2024, 1, 1), ok=True, raw=b"\x00\xff", Mixed="x"),
    dict(id=2, name=None, price=None, weight=None, day=None, at=None, made=None, ok=None, raw=None, Mixed=None),
]
with engine.begin() as connection:
    connection.execute(goods.insert(), ROWS)
with engine.connect() as connection:
    got = [dict(row._mapping) for row in connection.execute(sa.select(goods).order_by(goods.c.id))]
    expect(got, ROWS)
    expect(connection.execute(sa.select(sa.func.count()).select_from(goods).where(goods.c.name == "it's")).scalar(), 1)
    expect(connection.execute(sa.text("select name from goods where id = :id"), {"id": 1}).scalar(), "it's")
    expect(connection.execute(sa.update(goods).where(goods.c.id == 2).values(name="two")).rowcount, 1)
    connection.rollback()
    expect(connection.execute(sa.select(goods.c.name).where(goods.c.id == 2)).scalar(), None)
    expect(connection.execute(sa.delete(goods).where(goods.c.id == 2)).rowcount, 1)
    connection.commit()
    expect(connection.execute(sa.select(sa.func.count(goods.c.id))).scalar(), 1)

inspector = sa.inspect(engine)
assert "goods" in inspector.get_table_names(), inspector.get_table_names()
assert "public" in inspector.get_schema_names(), inspector.get_schema_names()
expect((inspector.has_table("goods"), inspector.has_table("never")), (True, False))
columns = {column["name"]: column for column in inspector.get_columns("goods")}
expect(list(columns), [column.name for column in goods.columns])
expect((str(columns["price"]["type"]), columns["id"]["nullable"]), ("DECIMAL(10, 2)", True))
expect(inspector.get_pk_constraint("goods")["constrained_columns"], [])
expect(inspector.get_foreign_keys("goods"), [])
with engine.begin() as connection:
    connection.execute(sa.text("create or replace view cheap as select id, name from goods where price < 2"))
assert "cheap" in sa.inspect(engine).get_view_names(), sa.inspect(engine).get_view_names()

reflected = sa.MetaData()
reflected.reflect(engine, only=["goods"])
again = reflected.tables["goods"]
with engine.connect() as connection:
    expect(connection.execute(sa.select(again.c.name, again.c["Mixed"]).where(again.c.id == 1)).one(), ("it's", "x"))

Base = declarative_base()


class Good(Base):
    __table__ = goods
    __mapper_args__ = {"primary_key": [goods.c.id]}


with Session(engine) as session:
    session.add_all([Good(id=10, name="ten"), Good(id=11, name="eleven")])
    session.commit()
    ten = session.get(Good, 10)
    ten.name = "TEN"
    session.commit()
    expect([good.name for good in session.scalars(sa.select(Good).where(Good.id >= 10).order_by(Good.id))], ["TEN", "eleven"])
    session.delete(session.get(Good, 11))
    session.rollback()
    expect(session.scalar(sa.select(sa.func.count()).select_from(Good).where(Good.id >= 10)), 2)

keyed = sa.Table("keyed", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
try:
    keyed.create(engine)
    raise AssertionError("a primary key was taken, which nobody keeps")
except sa.exc.ProgrammingError as error:
    assert "not supported" in str(error), error

print("ok")
