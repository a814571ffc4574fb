import { vi } from 'vitest';
import { vradam } from '../../cli/program.js';

/** What `vradam` prints, and its exit code. */
export async function commandLine(...words: string[]) {
  const written = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += text;
      return true;
    }),
  );
  try {
    return { code: await vradam(words), ...written };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
