import { cpSync, createReadStream, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
};

const PAGE =
  '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script src="main.js"></script>';

/**
 * Bundles a script for browsers as main.js, with this clone's sources as `vradam`, and lays TensorFlow.js's own
 * WebAssembly files beside it, in wasm/.
 *
 * @param folder where it is written; without an index.html of its own it gets one that runs the script.
 */
export async function buildSite(
  entry: string,
  folder: string,
  { html = PAGE, ...options }: BuildOptions & { html?: string } = {},
): Promise<void> {
  await build({
    entryPoints: { main: entry },
    outdir: folder,
    bundle: true,
    platform: 'browser',
    alias: { vradam: fileURLToPath(new URL('../src/browser/index.ts', import.meta.url)) },
    logLevel: 'warning',
    ...options,
  });
  const require = createRequire(import.meta.url);
  const wasm = dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json'));
  mkdirSync(join(folder, 'wasm'), { recursive: true });
  cpSync(join(wasm, 'wasm-out'), join(folder, 'wasm'), {
    recursive: true,
    filter: (file) => !extname(file) || file.endsWith('.wasm'),
  });
  writeFileSync(join(folder, 'index.html'), html);
}

/** Files over HTTP, for this machine alone. */
export interface Served {
  /** Ends with a slash. */
  readonly url: string;
  close(): void;
}

/**
 * Serves the files of a folder.
 *
 * @param port 0 takes one that is free.
 * @param headers sent with every file.
 */
export function serve(
  folder: string,
  port = 0,
  headers: Readonly<Record<string, string>> = {},
): Promise<Served> {
  const server = createServer((request, response) => {
    // A URL's path cannot leave the folder: '..' is resolved before.
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const file = join(folder, pathname, pathname.endsWith('/') ? 'index.html' : '');
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      ...headers,
    });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, 'localhost', () => {
      const url = `http://localhost:${(server.address() as AddressInfo).port}/`;
      resolve({ url, close: () => void server.close().closeAllConnections() });
    });
  });
}
