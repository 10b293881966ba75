// Drives npm's snowflake-sdk at an instance with users: `node users.js HOST PORT CREDENTIALS`, which users.py describes.
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const snowflake = require('snowflake-sdk');

snowflake.configure({ logLevel: 'OFF', additionalLogToConsole: false });
const [host, port, file] = process.argv.slice(2);
const given = JSON.parse(fs.readFileSync(file, 'utf8'));

function connect(options) {
  const connection = snowflake.createConnection({
    account: 'local', username: given.user, accessUrl: `http://${host}:${port}`, host, port: Number(port), protocol: 'http', ...options,
  });
  return new Promise((resolve, reject) => connection.connect((error) => (error ? reject(error) : resolve(connection))));
}

const rows = (connection, sqlText) => new Promise((resolve, reject) => {
  connection.execute({ sqlText, complete: (error, _, rows) => (error ? reject(error) : resolve(rows)) });
});

const token = (name) => ({ authenticator: 'PROGRAMMATIC_ACCESS_TOKEN', token: given[name] });
const keyPair = (name) => ({ authenticator: 'SNOWFLAKE_JWT', privateKey: fs.readFileSync(given[name], 'utf8') });

const waysIn = { password: { password: given.password }, token: token('token'), 'key pair': keyPair('key') };
const refused = {
  'wrong password': [{ password: 'wrong-password' }, 'password is wrong'],
  'forged token': [{ authenticator: 'PROGRAMMATIC_ACCESS_TOKEN', token: `${given.token}x` }, 'token is not valid'],
  'expired token': [token('expired'), 'has expired'],
  'another key': [keyPair('other_key'), 'key-pair token is not valid'],
};

(async () => {
  for (const [name, options] of Object.entries(waysIn)) {
    const connection = await connect(options);
    const [who] = await rows(connection, 'select current_user() as u, current_role() as r');
    assert.deepEqual([who.U, who.R], ['ANN', 'READER']);
    assert.deepEqual((await rows(connection, 'select a from frazil.s.open order by a')).map((row) => row.A), [1, 2]);
    await assert.rejects(rows(connection, 'insert into frazil.s.open values (3)'), (error) => error.sqlState === '42501' && error.message.includes('open'));
    await new Promise((resolve) => connection.destroy(resolve));
    console.log(`ok ${name}`);
  }
  for (const [name, [options, said]] of Object.entries(refused)) {
    await assert.rejects(connect(options), (error) => {
      assert.ok(error.message.includes(said), `${name}: ${error.message}`);
      return true;
    });
    console.log(`ok ${name}`);
  }
  process.exit(0);
})().catch((error) => {
  console.log(error.stack);
  process.exit(1);
});
