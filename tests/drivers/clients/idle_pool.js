// A node-postgres pool as many programs have it, without an 'error' listener: what comes over an idle connection is thrown
// where nobody catches it. Prints the backend's pid, waits for a line on stdin, then uses the pool again.
'use strict';
const { Pool } = require('pg');

const line = () => new Promise((resolve) => process.stdin.once('data', resolve));

(async () => {
  const pool = new Pool({ max: 1, idleTimeoutMillis: 0 });
  console.log('pid', (await pool.query('select pg_backend_pid() as pid')).rows[0].pid);
  await line();
  try {
    await pool.query('select 1');
    console.log('answered');
  } catch (error) {
    console.log('caught', error.code, error.severity, error.message);
  }
  console.log('next', (await pool.query("select 'the pool goes on' as v")).rows[0].v);
  await pool.end();
  process.stdin.destroy();
  console.log('done');
})();
