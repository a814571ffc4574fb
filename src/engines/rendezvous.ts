import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { invalid, VRAdamError } from '../errors.js';

/** Where the ranks of a group find each other. */
export interface Rendezvous {
  /** By which address of this machine the others probably reach it. */
  readonly host: string;
  /** Gives this rank's address to all, and returns theirs, by rank. */
  exchange(mine: Uint8Array): Promise<Uint8Array[]>;
  /** Leaves, when all are connected or nothing came of it. */
  leave(): Promise<void>;
}

/** Milliseconds between two looks for the others. */
const PAUSE = 20;
/** Most characters that somebody at the door may say. */
const LONGEST = 1 << 20;

/**
 * Comes to the place where ranks meet: a folder that they share, `file:///folder`, or an address where rank 0 listens,
 * `tcp://host:port`.
 *
 * @param signal Ends the waiting.
 */
export function meet(store: string, rank: number, size: number, signal: AbortSignal): Promise<Rendezvous> {
  const url = URL.canParse(store) ? new URL(store) : undefined;
  if (url?.protocol === 'file:') return meetInFolder(fileURLToPath(url), rank, size, signal);
  if (url?.protocol === 'tcp:' && url.hostname !== '' && url.port !== '') {
    const place = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
    return rank === 0 ? listen(place, size, signal) : visit(place, rank, size, signal);
  }
  throw invalid('ERR_VRADAM_GROUP', 'store', "'file:///folder' or 'tcp://host:port'", store);
}

/** Each rank's address is a file of the folder, until all have connected. */
async function meetInFolder(
  folder: string,
  rank: number,
  size: number,
  signal: AbortSignal,
): Promise<Rendezvous> {
  await mkdir(folder, { recursive: true });
  const fileOf = (r: number) => join(folder, `rank-${r}-of-${size}`);
  return {
    host: '127.0.0.1',
    async exchange(mine) {
      const partial = `${fileOf(rank)}.${process.pid}.partial`;
      await writeFile(partial, mine);
      await rename(partial, fileOf(rank));
      const addresses: Uint8Array[] = [];
      while (addresses.length < size) {
        try {
          addresses.push(await readFile(fileOf(addresses.length)));
        } catch (error) {
          if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
          await sleep(PAUSE, undefined, { signal });
        }
      }
      return addresses;
    },
    leave: () => rm(fileOf(rank), { force: true }),
  };
}

/** Rank 0: takes the addresses of the others, a line of JSON each, and answers with all of them. */
async function listen(
  place: { host: string; port: number },
  size: number,
  signal: AbortSignal,
): Promise<Rendezvous> {
  const visitors = new Map<number, { socket: Socket; address: string }>();
  const sockets = new Set<Socket>();
  let arrived = () => {};
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      sockets.delete(socket);
      // One that ended before all came may be started again.
      for (const [rank, visitor] of visitors) if (visitor.socket === socket) visitors.delete(rank);
    });
    lineOf(socket)
      .then((line) => {
        const { rank, size: theirs, address } = JSON.parse(line) as Record<string, unknown>;
        const refuse = (why: string) => socket.end(`${JSON.stringify({ why })}\n`);
        const number = Number(rank);
        if (theirs !== size) return refuse(`rank 0 has a group of ${size}, rank ${rank} one of ${theirs}`);
        if (!(Number.isInteger(number) && number > 0 && number < size)) return refuse(`no rank ${rank}`);
        if (visitors.has(number)) return refuse(`there are two of rank ${rank}`);
        visitors.set(number, { socket, address: String(address) });
        arrived();
      })
      // Whoever says no such line is no rank.
      .catch(() => socket.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(place, resolve);
  });
  const { address } = server.address() as { address: string };
  return {
    host: address,
    async exchange(mine) {
      signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        arrived = () => visitors.size === size - 1 && resolve();
        signal.addEventListener('abort', () => reject(signal.reason));
        arrived();
      });
      const own = Buffer.from(mine).toString('base64');
      const all = Array.from({ length: size }, (_, r) => visitors.get(r)?.address ?? own);
      for (const { socket } of visitors.values()) socket.end(`${JSON.stringify({ all })}\n`);
      return all.map((one) => Buffer.from(one, 'base64'));
    },
    async leave() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Another rank: tells rank 0 its address as soon as that listens. */
async function visit(
  place: { host: string; port: number },
  rank: number,
  size: number,
  signal: AbortSignal,
): Promise<Rendezvous> {
  const socket = await knock(place, signal);
  return {
    host: socket.localAddress ?? '127.0.0.1',
    async exchange(mine) {
      signal.throwIfAborted();
      const answer = lineOf(socket, signal);
      socket.write(`${JSON.stringify({ rank, size, address: Buffer.from(mine).toString('base64') })}\n`);
      const { why, all } = JSON.parse(await answer) as { why?: string; all?: string[] };
      if (all === undefined) throw new VRAdamError('ERR_VRADAM_GROUP', `Rank 0 refused: ${why}`);
      return all.map((one) => Buffer.from(one, 'base64'));
    },
    async leave() {
      socket.destroy();
    },
  };
}

async function knock(place: { host: string; port: number }, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    const socket = connect({ ...place, signal });
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    if (open) return socket.on('error', () => socket.destroy());
    socket.destroy();
    await sleep(PAUSE, undefined, { signal });
  }
}

/** The first line that comes. */
function lineOf(socket: Socket, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (more: string) => {
      text += more;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.slice(0, end));
      else if (text.length > LONGEST) reject(new Error('a line without an end'));
    });
    socket.on('close', () => reject(new Error('the connection to rank 0 was closed')));
    signal?.addEventListener('abort', () => reject(signal.reason));
  });
}
