import { expect, test } from 'vitest';
import { seed } from '../seed.js';
import { runFuzz } from './run.js';

test('no call across the Node-API border crashes, writes beside an array, or throws less than a sentence', async () => {
  expect(await runFuzz('border', 20_000, seed)).toEqual({
    ok: true,
    summary: expect.stringMatching(/^returned \d+, refused \d+$/),
  });
}, 180_000);

test('no checkpoint, however damaged or forged, crashes the reader or leaves an unsound state', async () => {
  expect(await runFuzz('checkpoints', 2000, seed)).toEqual({
    ok: true,
    summary: expect.stringMatching(/^read \d+, refused \d+$/),
  });
}, 180_000);
