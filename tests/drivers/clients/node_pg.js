// node-postgres: simple and extended queries, named statements, a pool, errors, notifications, queries queued back to back,
// big values, timeouts, and the shape of the errors that its users look at.
'use strict';
const crypto = require('crypto');
const { Client, Pool } = require('pg');

const section = (name) => console.log('==', name);
const md5 = (text) => crypto.createHash('md5').update(text).digest('hex');
const told = (error) => [error.name, error.code, error.severity, error.message, error.constraint, error.position].join(' | ');

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    return told(error);
  }
}

async function statements(client) {
  section('types');
  const row = await client.query(
    `select $1::int as i, $2::text as t, $3::numeric as n, $4::timestamptz as at, $5::bytea as b, $6::int[] as a, $7::jsonb as j,
            $8::bool as yes, null as nothing`,
    [1, "żółw ' \\", '12.50', new Date('2024-02-29T12:00:00Z'), Buffer.from([0, 255]), [1, null, 3], { k: [true] }, true]);
  console.log(JSON.stringify(row.rows), row.fields.map((f) => `${f.name}:${f.dataTypeID}`).join(' '));
  console.log(JSON.stringify(await client.query({ text: 'select 1 as a, 2 as a', rowMode: 'array' }).then((r) => r.rows)));

  section('several statements in one query');
  const results = await client.query("create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b'); select * from t");
  console.log(results.map((r) => `${r.command} ${r.rowCount}`).join(', '));
  console.log(await attempt(() => client.query("insert into t values (3, 'lost'); select 1/0")));
  console.log((await client.query('select count(*) from t')).rows);

  section('named statements');
  let sum = 0;
  for (let n = 0; n < 50; n++) {
    sum += (await client.query({ name: 'twice', text: 'select $1::int * 2 as d', values: [n] })).rows[0].d;
  }
  console.log(sum, (await client.query('select count(*)::int as n from pg_prepared_statements')).rows[0].n);
  console.log(await attempt(() => client.query({ name: 'twice', text: 'select 1', values: [] })));

  section('errors');
  for (const [text, values] of [['select 1/$1::int', [0]], ['selec', []], ['select $1::int', ['x']],
    ["insert into t values ($1, 'again')", [1]], ["do $$ begin raise exception 'mine' using errcode = 'P0815'; end $$", undefined]]) {
    console.log(await attempt(() => client.query(text, values)));
  }

  section('a thousand queries queued at once');
  const queued = await Promise.all(Array.from({ length: 1000 }, (_, n) => client.query('select $1::int as n', [n])));
  console.log(queued.reduce((total, r) => total + r.rows[0].n, 0));
}

async function transactions(client) {
  section('transactions');
  await client.query('begin');
  await client.query("insert into t values (10, 'rolled back')");
  console.log(await attempt(() => client.query('select 1/0')));
  console.log(await attempt(() => client.query('select 1')));
  console.log((await client.query('commit')).command);
  console.log((await client.query('select count(*)::int as n from t where id = 10')).rows[0].n);
}

async function notifications(client) {
  section('notifications and notices');
  const notices = [];
  client.on('notice', (n) => notices.push(`${n.severity} ${n.message}`));
  await client.query("do $$ begin raise notice 'noticed'; end $$");
  console.log(notices);
  const listener = new Client();
  await listener.connect();
  const heard = [];
  const both = new Promise((resolve) => listener.on('notification', (n) => {
    heard.push(`${n.channel} ${n.payload}`);
    if (heard.length === 2) resolve();
  }));
  await listener.query('listen news');
  await client.query("notify news, 'one'");
  await client.query('select pg_notify($1, $2)', ['news', 'two']);
  await both;
  console.log(heard);
  await listener.end();
}

async function bigValues(client) {
  section('values of 16 MB');
  const big = '0123456789abcdef'.repeat(1024 * 1024);
  console.log(md5((await client.query('select $1::text as v', [big])).rows[0].v));
  console.log(md5((await client.query(`select '${big}' as v`)).rows[0].v));
  const rows = (await client.query("select n, repeat('x', 100) as v from generate_series(1, 50000) n")).rows;
  console.log(rows.length, rows.reduce((total, r) => total + r.n + r.v.length, 0));
}

async function timeouts() {
  section('timeouts');
  const client = new Client({ statement_timeout: 200, application_name: 'node', lock_timeout: 100 });
  await client.connect();
  console.log(await attempt(() => client.query('select pg_sleep(60)')));
  console.log((await client.query('select current_setting($1) as s', ['application_name'])).rows[0].s);
  await client.end();
}

async function pool() {
  section('a pool of five, two hundred queries');
  const five = new Pool({ max: 5, idleTimeoutMillis: 200 });
  const results = await Promise.all(Array.from({ length: 200 }, (_, n) => five.query('select $1::int + 1 as n', [n])));
  console.log(results.reduce((total, r) => total + r.rows[0].n, 0), five.totalCount <= 5);
  const failed = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => five.query('select 10 / ($1::int - 7) as n', [n])));
  console.log(failed.filter((f) => f.status === 'rejected').map((f) => told(f.reason)));

  section('a pooled session that the server terminates');
  const held = await five.connect();
  // Told twice, of the server's words and of the closed connection; the second may come before release() listens.
  const lost = new Promise((resolve) => held.on('error', resolve));
  const pid = (await held.query('select pg_backend_pid() as pid')).rows[0].pid;
  console.log((await five.query('select pg_terminate_backend($1) as done', [pid])).rows[0].done);
  console.log(told(await lost));
  held.release(true);
  console.log((await five.query("select 'the pool goes on' as v")).rows[0].v);
  await five.end();
}

async function logins() {
  section('logins that fail');
  for (const wrong of [{ password: 'wrong' }, { database: 'no_such_database' }, { ssl: true }, { options: '-c no_such_setting=1' }]) {
    const client = new Client(wrong);
    client.on('error', () => {});
    console.log(await attempt(() => client.connect().then(() => 'connected')));
    await client.end().catch(() => {});
  }
}

(async () => {
  const client = new Client();
  await client.connect();
  await statements(client);
  await transactions(client);
  await notifications(client);
  await bigValues(client);
  await client.end();
  await timeouts();
  await pool();
  await logins();
  console.log('done');
})().catch((error) => {
  console.log(error);
  process.exit(1);
});
