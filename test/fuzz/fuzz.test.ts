import { expect, test } from 'vitest';
import { runFuzz } from './run.js';

// Another seed every day, and the same the whole day, so that a failure can be looked at.
const seed = Math.floor(Date.now() / 86_400_000) * 10_000;

test('no call across the Node-API border crashes, writes beside an array, or throws less than a sentence', async () => {
  expect(await runFuzz('border', 20_000, seed)).toEqual({
    ok: true,
    summary: expect.stringMatching(/^returned \d+, refused \d+$/),
  });
});

test('no checkpoint, however damaged or forged, crashes the reader or leaves an unsound state', async () => {
  expect(await runFuzz('checkpoints', 2000, seed)).toEqual({
    ok: true,
    summary: expect.stringMatching(/^read \d+, refused \d+$/),
  });
});
