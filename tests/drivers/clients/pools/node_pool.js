// node-postgres' pool: none at least, closes what was idle for a second. Arguments and output as in shop.py.
'use strict';
const { Pool } = require('pg');

const [application_name, day, leakEvery, leakAfter] = [process.argv[2], ...process.argv.slice(3, 6).map(Number)];
const pool = new Pool({ max: 60, idleTimeoutMillis: 1000, application_name });
const good = "select relname from pg_class where oid = 4711 /*controller='orders',route='%2Forders'*/";
const bad = "select nspname from pg_namespace where oid = 4711 /*controller='refunds',route='%2Frefunds'*/";
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
let open = true;
let requests = 0;
let lost = 0;

async function serve() {
  const client = await pool.connect();
  try {
    await client.query(good);
  } finally {
    client.release();
  }
}

async function worker(number, started) {
  for (; open; await wait(0.1)) {
    const load = 0.5 - 0.5 * Math.cos(2 * Math.PI * (performance.now() / 1000 - started) / day);
    if (number > 7 * load) continue;
    await serve();
    ++requests;
  }
}

async function leaker() {
  await wait(leakAfter);
  for (; open && lost < 40; await wait(leakEvery)) {
    const client = await pool.connect();
    await client.query(bad);  // and an error path that forgets to release
    ++lost;
  }
}

(async () => {
  await serve();
  console.log('open');
  const started = performance.now() / 1000;
  for (let number = 0; number < 8; ++number) worker(number, started);
  if (leakEvery > 0) leaker();
  process.stdin.resume();
  process.stdin.on('end', () => {
    open = false;
    console.log(`${requests} requests, ${lost} lost`);
    process.exit(0);
  });
})();
