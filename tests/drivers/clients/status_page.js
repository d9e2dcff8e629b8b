// Looks at the status page as a person at a keyboard does. Environment: PAGE (its address), BROWSER (path), SHOTS (folder, or empty).
'use strict';
const assert = require('node:assert');
const { chromium } = require('playwright-core');

const hostile = `</td><script>owned=true</script><img src=x id=evil>"'&`;

async function main() {
  const browser = await chromium.launch({ executablePath: process.env.BROWSER, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  const complaints = [], asked = new Set();
  page.on('console', message => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('request', request => asked.add(new URL(request.url()).origin));
  await page.goto(process.env.PAGE);
  const rows = name => page.locator(`#${name} tbody tr.row`);
  const cells = (name, title) => page.evaluate(([place, wanted]) => {
    const at = [...document.querySelectorAll(`#${place} thead th`)].findIndex(th => th.textContent === wanted);
    return [...document.querySelectorAll(`#${place} tbody tr.row`)].map(tr => tr.children[at].textContent);
  }, [name, title]);
  const settle = (what, argument) => page.waitForFunction(what, argument, { timeout: 20000 });

  // Everything is there: sessions, the would-act, the act with its incident, who blocks whom.
  await settle(() => document.querySelectorAll('#sessions tbody tr.row').length >= 6);
  await settle(() => document.querySelector('#actions')?.textContent.includes('confirmed'));
  await settle(() => document.querySelector('#blocking tbody tr.row')).catch(async error => {
    throw new Error(`nobody blocks anybody: ${await page.evaluate(async () => (await (await fetch('/api/blocking')).text()) + document.querySelector('#sessions').innerText + document.querySelector('#servers').innerText)}\n${error.message}`);
  });
  assert.match(await page.locator('#servers').innerText(), /of 60 slots/);
  assert.match(await page.locator('#rules').innerText(), /idle-tx/);
  assert.ok((await cells('rules', 'Would have acted')).some(count => Number(count) > 0), 'would-acts are counted');
  assert.ok((await cells('sessions', 'Blocked by')).some(pid => /^\d+$/.test(pid)), 'the blocked session names its blocker');
  console.log('shown');

  // A hostile name is text.
  assert.ok((await cells('sessions', 'Application')).includes(hostile), 'the name is shown as it is');
  assert.strictEqual(await page.evaluate(() => typeof owned), 'undefined');
  assert.strictEqual(await page.locator('img').count(), 0);
  console.log('hostile name is text');

  // Sorted by the keyboard; a screen reader is told; the focus stays through a refresh.
  const header = page.locator('#sessions thead button', { hasText: 'Application' });
  await header.focus();
  await page.keyboard.press('Enter');
  const sort = () => page.evaluate(() => [...document.querySelectorAll('#sessions thead th')].find(th => th.textContent === 'Application').getAttribute('aria-sort'));
  assert.strictEqual(await sort(), 'ascending');
  const up = await cells('sessions', 'Application');
  await page.keyboard.press('Space');
  assert.strictEqual(await sort(), 'descending');
  const down = await cells('sessions', 'Application');
  const ordered = await page.evaluate(names => names.slice().sort((a, b) => a.localeCompare(b)), up);
  assert.deepStrictEqual(up, ordered);
  assert.deepStrictEqual(down.slice().sort(), up.slice().sort());
  assert.strictEqual(down[0], up[up.length - 1]);
  const explain = page.locator('#sessions tbody button').first();
  await explain.focus();
  const held = await page.evaluate(() => document.activeElement.textContent);
  await page.waitForResponse(/api\/sessions/, { timeout: 20000 });
  await page.waitForResponse(/api\/sessions/, { timeout: 20000 });
  assert.strictEqual(await page.evaluate(() => document.activeElement.textContent), held, 'a refresh takes no focus away');
  console.log('sorted by keyboard');

  // Evidence of an incident by the keyboard, and closed by it.
  await page.locator('#actions tbody button').first().focus();
  await page.keyboard.press('Enter');
  await settle(() => document.querySelector('dialog[open] pre')?.textContent.includes('"incident"'));
  await page.keyboard.press('Escape');
  assert.strictEqual(await page.locator('dialog[open]').count(), 0);
  console.log('evidence shown');

  // Filters.
  await page.locator('#f-application').focus();
  await page.keyboard.type('CATALOG');
  assert.deepStrictEqual([...new Set(await cells('sessions', 'Application'))], ['catalog']);
  await page.locator('#f-application').fill('');
  await page.locator('#f-state').focus();
  await page.locator('#f-state').selectOption('idle in transaction');
  assert.deepStrictEqual([...new Set(await cells('sessions', 'State'))], ['idle in transaction']);
  await page.locator('#f-state').selectOption('');
  await page.locator('#f-rule').selectOption('idle-tx');
  assert.deepStrictEqual([...new Set(await cells('sessions', 'Rule'))], ['idle-tx']);
  await page.locator('#f-rule').selectOption('');
  console.log('filtered');

  if (process.env.SHOTS) {
    await page.evaluate(() => document.activeElement.blur());
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      const whole = scheme === 'light';
      await page.screenshot({ path: `${process.env.SHOTS}/status-page-${scheme}.png`, fullPage: whole, ...(whole ? {} : { clip: { x: 0, y: 0, width: 1280, height: 640 } }) });
    }
  }

  // Five thousand sessions: a page of them at a time.
  await page.route('**/api/sessions', async route => {
    const answer = await (await route.fetch()).json();
    const one = answer[0].sessions[0];
    answer[0].sessions = Array.from({ length: 5000 }, (_, i) => ({ ...one, session: String(i + 1), pid: i + 1, application: 'crowd-' + i }));
    await route.fulfill({ json: answer });
  });
  await settle(() => document.querySelector('#sessions caption').textContent.includes('(50'));
  assert.ok(await rows('sessions').count() <= 100);
  const spent = await page.evaluate(() => { const began = performance.now(); document.querySelector('#sessions thead button').click(); return performance.now() - began; });
  assert.ok(spent < 1000, `sorting took ${spent} ms`);
  await page.locator('#sessions .pages button', { hasText: 'Next' }).focus();
  await page.keyboard.press('Enter');
  assert.match(await page.locator('#sessions .pages span').innerText(), /^101 to 200 of 50/);
  if (process.env.SHOTS) {
    await page.emulateMedia({ colorScheme: 'light' });
    await page.locator('#h-sessions').scrollIntoViewIfNeeded();
    await page.evaluate(() => document.querySelector('#h-sessions').scrollIntoView());
    await page.screenshot({ path: `${process.env.SHOTS}/status-page-5000.png`, clip: { x: 0, y: 0, width: 1280, height: 480 } });
  }
  console.log('five thousand');

  assert.strictEqual(await page.locator('#news').innerText(), '');
  assert.deepStrictEqual(complaints, [], 'no violation of the Content-Security-Policy, no error');
  assert.deepStrictEqual([...asked], [new URL(process.env.PAGE).origin]);
  await browser.close();
  console.log('done');
}
main().catch(error => { console.log(error.stack); process.exit(1); });
