import { expect, it } from 'vitest';
import { loadAddon } from '../../src/engines/addon.js';

// This file must not load tfjs-node.
it('a process without TensorFlow is told so', () => {
  const { addon } = loadAddon();
  expect(() => addon!.openTensorflow()).toThrow('This process has loaded no TensorFlow library');
  expect(() => addon!.openTensorflow()).toThrow(
    expect.objectContaining({ code: 'ERR_VRADAM_ENGINE' }) as Error,
  );
});
