import { connect, createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { meet } from '../../src/engines/rendezvous.js';

/** A port of this machine that nobody listens at. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Somebody who says something to rank 0. */
async function say(port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  await new Promise((resolve) => socket.write(text, resolve));
  return socket.on('error', () => {});
}

const ended = (socket: Socket) =>
  new Promise((resolve) => (socket.destroyed ? resolve(true) : socket.resume().once('close', resolve)));
const bytes = (text: string) => new Uint8Array(Buffer.from(text));

it('ranks meet where rank 0 listens, whoever else comes by, and a rank that was started again counts once', async () => {
  const { signal } = new AbortController();
  const port = await freePort();
  const store = `tcp://127.0.0.1:${port}`;
  const first = await meet(store, 0, 2, signal);
  for (const text of ['GET / HTTP/1.1\r\n\r\n', 'null\n', '{"rank":7,"size":2,"address":"AA=="}\n']) {
    await ended(await say(port, text));
  }
  const dead = await say(port, '{"rank":1,"size":2,"address":"AA=="}\n');
  await new Promise((resolve) => setTimeout(resolve, 50));
  dead.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const silent = connect(port, '127.0.0.1').on('error', () => {});
  const second = await meet(store, 1, 2, signal);
  const found = await Promise.all([first.exchange(bytes('of 0')), second.exchange(bytes('of 1'))]);
  for (const addresses of found)
    expect(addresses.map((one) => Buffer.from(one).toString())).toEqual(['of 0', 'of 1']);
  await Promise.all([first.leave(), second.leave()]);
  await ended(silent);
});

it('waiting ends with its signal, also where it has ended before', async () => {
  const store = `tcp://127.0.0.1:${await freePort()}`;
  await expect(meet(store, 1, 2, AbortSignal.timeout(100))).rejects.toThrow(/abort/i);
  const past = AbortSignal.abort();
  const place = await meet(store, 0, 2, past);
  await expect(place.exchange(bytes('of 0'))).rejects.toThrow(/abort/i);
  await place.leave();
});
