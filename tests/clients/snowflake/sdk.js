// Drives npm's snowflake-sdk against a server: `node sdk.js HOST PORT [TEST…]`. Ends with 1 if a test fails.
'use strict';
const assert = require('node:assert/strict');
const snowflake = require('snowflake-sdk');

snowflake.configure({ logLevel: 'OFF', additionalLogToConsole: false });
const [host, port, ...wanted] = process.argv.slice(2);

function connect(options = {}) {
  const connection = snowflake.createConnection({
    account: 'local', username: 'tester', password: 'secret', accessUrl: `http://${host}:${port}`, host, port: Number(port), protocol: 'http', ...options,
  });
  return new Promise((resolve, reject) => connection.connect((error) => (error ? reject(error) : resolve(connection))));
}

function run(connection, sqlText, options = {}) {
  return new Promise((resolve, reject) => {
    connection.execute({
      sqlText, ...options,
      complete: (error, statement, rows) => (error ? reject(error) : resolve({ statement, rows })),
    });
  });
}

const rows = async (connection, sqlText, options) => (await run(connection, sqlText, options)).rows;

const SLOW = 'select sum(value) from generate_series(1, 1000000000000)';

const tests = {
  async types(connection) {
    const [row] = await rows(connection, `select 1 as n, -1.25 as d, cast(1.5 as float) as f, true as t, false as u, 'it''s 🦀' as s, cast(null as int) as z,
      date '2024-02-29' as day, timestamp '2024-02-29 12:30:00.123' as at, cast('2024-07-01T12:00:00Z' as timestamp_tz) as tz, cast('12:30:01.5' as time) as tm, x'00ff' as b,
      [1, 2] as l, {'a': 'x'} as o, cast('inf' as double) as i, cast('nan' as double) as nan, 9007199254740991 as big`);
    assert.equal(row.N, 1);
    assert.equal(row.D, -1.25);
    assert.equal(row.F, 1.5);
    assert.deepEqual([row.T, row.U], [true, false]);
    assert.equal(row.S, "it's 🦀");
    assert.equal(row.Z, null);
    assert.equal(row.DAY.toISOString(), '2024-02-29T00:00:00.000Z');
    assert.equal(row.AT.toISOString(), '2024-02-29T12:30:00.123Z');
    assert.equal(row.TZ.toISOString(), '2024-07-01T12:00:00.000Z');
    assert.equal(row.TM, '12:30:01');
    assert.deepEqual([...row.B], [0, 255]);
    assert.deepEqual(row.L, [1, 2]);
    assert.deepEqual(row.O, { a: 'x' });
    assert.equal(row.I, Infinity);
    assert.ok(Number.isNaN(row.NAN));
    assert.equal(row.BIG, 9007199254740991);
    const [exact] = await rows(connection, "select 9223372036854775807 as big, cast('99999999999999999999999999999999999999' as number(38,0)) as most", { fetchAsString: ['Number'] });
    assert.deepEqual([exact.BIG, exact.MOST], ['9223372036854775807', '99999999999999999999999999999999999999']);
  },

  async binds(connection) {
    const [row] = await rows(connection, 'select ? as n, ? as s, ? as t, ? as z, :1 as again', { binds: [5, "it's ?", true, null] }).catch(() => rows(connection, 'select ? as n, ? as s, ? as t, ? as z', { binds: [5, "it's ?", true, null] }));
    assert.equal(row.N, 5);
    assert.equal(row.S, "it's ?");
    assert.equal(row.T, true);
    assert.equal(row.Z, null);
    await run(connection, 'create or replace table bound (id int, name varchar, at timestamp_ntz)');
    await run(connection, 'insert into bound values (?, ?, ?)', { binds: [[1, 'a', '2024-01-01 00:00:00'], [2, null, null], [3, 'c', '2024-01-03 00:00:00']] });
    const got = await rows(connection, 'select id, name, at from bound order by id');
    assert.deepEqual(got.map((one) => [one.ID, one.NAME, one.AT && one.AT.toISOString()]), [[1, 'a', '2024-01-01T00:00:00.000Z'], [2, null, null], [3, 'c', '2024-01-03T00:00:00.000Z']]);
    const { statement } = await run(connection, "update bound set name = ? where id > ?", { binds: ['x', 1] });
    assert.equal(statement.getNumUpdatedRows(), 2);
  },

  async describe(connection) {
    const { statement } = await run(connection, 'select 1 as a, \'x\' as "b" where false');
    assert.deepEqual(statement.getColumns().map((column) => [column.getName(), column.getType()]), [['A', 'fixed'], ['b', 'text']]);
    assert.ok(statement.getStatementId());
  },

  async errors(connection) {
    await assert.rejects(rows(connection, 'select * from nowhere'), (error) => error.code === '002003' && error.sqlState === '42P01');
    await assert.rejects(rows(connection, 'selec 1'), (error) => error.code === '001003');
    assert.equal((await rows(connection, 'select 1 as a'))[0].A, 1);
  },

  async large(connection) {
    const count = 60000;
    const got = await rows(connection, `select value as id, 'row ' || value as name from generate_series(1, ${count}) order by value`);
    assert.equal(got.length, count);
    for (const index of [0, 9999, 10000, 33333, count - 1]) {
      assert.deepEqual({ ...got[index] }, { ID: index + 1, NAME: `row ${index + 1}` });
    }
    const { statement } = await run(connection, `select value as id from generate_series(1, ${count}) order by value`, { streamResult: true });
    let sum = 0;
    for await (const row of statement.streamRows()) sum += row.ID;
    assert.equal(sum, (count * (count + 1)) / 2);
  },

  async session(connection) {
    await run(connection, 'create schema if not exists of_node');
    await run(connection, 'use schema of_node');
    assert.equal((await rows(connection, 'select current_schema() as s'))[0].S, 'OF_NODE');
    await run(connection, "alter session set query_tag = 'x'");
    await run(connection, 'use schema public');
    await run(connection, 'create or replace table moved (a int)');
    await run(connection, 'begin');
    await run(connection, 'insert into moved values (1)');
    await run(connection, 'rollback');
    assert.equal((await rows(connection, 'select count(*) as n from moved'))[0].N, 0);
  },

  async several(connection) {
    const got = [];
    await new Promise((resolve, reject) => {
      connection.execute({
        sqlText: "select 1 as a; select 2 as a; select 3 as a",
        parameters: { MULTI_STATEMENT_COUNT: 3 },
        complete: (error, statement) => {
          if (error) return reject(error);
          const stream = statement.streamRows();
          stream.on('error', reject);
          stream.on('data', (row) => got.push(row.A));
          stream.on('end', () => (statement.hasNext() ? statement.NextResult() : resolve()));
        },
      });
    });
    assert.deepEqual(got, [1, 2, 3]);
  },

  async asynchronous(connection) {
    const { statement } = await run(connection, 'select 42 as a', { asyncExec: true });
    const id = statement.getQueryId();
    const got = await connection.getResultsFromQueryId({ queryId: id });
    const answer = [];
    for await (const row of got.streamRows()) answer.push(row.A);
    assert.deepEqual(answer, [42]);
  },

  async cancel(connection) {
    let statement;
    const failed = new Promise((resolve) => {
      statement = connection.execute({ sqlText: SLOW, complete: (error) => resolve(error) });
    });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await new Promise((resolve, reject) => statement.cancel((error) => (error ? reject(error) : resolve())));
    const error = await failed;
    assert.equal(error && error.code, '000604');
  },

  async concurrency(connection) {
    const answers = await Promise.all([...Array(20).keys()].map((number) => rows(connection, `select ${number} as n`)));
    assert.deepEqual(answers.map(([row]) => row.N), [...Array(20).keys()]);
  },
};

(async () => {
  let failed = 0;
  const chosen = Object.entries(tests).filter(([name]) => !wanted.length || wanted.includes(name));
  for (const [name, test] of chosen) {
    try {
      const connection = await connect();
      await test(connection);
      await new Promise((resolve) => connection.destroy(resolve));
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  console.log(failed ? `${failed} of ${chosen.length} tests failed` : `${chosen.length} tests passed`);
  process.exit(failed ? 1 : 0);
})();
