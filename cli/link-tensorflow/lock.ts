import { createHash } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Takes the name for a socket of this process; undefined where another socket has it. */
function take(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => resolve(server));
  });
}

/** Waits until whoever has the name gives it up or ends: either closes the connection. */
function released(name: string): Promise<void> {
  return new Promise((resolve) => {
    connect(name)
      .on('error', () => {})
      .on('close', () => resolve());
  });
}

/**
 * Runs an action while no other process of this machine is in an action of the same folder; waits as long as one is.
 *
 * The lock is the name of a socket in Linux's abstract namespace. The kernel gives it to one process at a time and takes
 * it back when that process ends, however it ends. A lock in a file would outlive its holder, and whoever judged it
 * abandoned and removed it could remove that of the next holder.
 *
 * @param folder Its path is what is locked; nothing is written there.
 * @param waiting Hears each time that another one is in.
 */
export async function withLock<T>(
  folder: string,
  action: () => Promise<T>,
  waiting?: () => void,
): Promise<T> {
  const name = `\0vradam-${createHash('sha256').update(folder).digest('hex')}`;
  let server = await take(name);
  while (!server) {
    waiting?.();
    await released(name);
    server = await take(name);
  }
  const waiters: Socket[] = [];
  server.on('connection', (socket) => waiters.push(socket.on('error', () => {})));
  try {
    return await action();
  } finally {
    server.close();
    for (const waiter of waiters) waiter.destroy();
  }
}
