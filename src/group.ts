/** Groups of processes that train together: see docs/more-than-one-machine.md. */
import { Group, type GroupEngine } from './engines/group.js';
import { loadGroupPlugin } from './engines/group-plugin.js';
import { asVRAdamError, translateNative } from './engines/native-errors.js';
import { meet, type Rendezvous } from './engines/rendezvous.js';
import { invalid, VRAdamError } from './errors.js';
import { readOptions } from './options/options.js';

export { VRAdamError, type VRAdamErrorCode } from './errors.js';
export type { Group, GroupEngine };

/** Options of `joinGroup`. */
export interface JoinOptions {
  /** This process, from 0. Default: RANK of the environment; with `mpi`, the launcher says so. */
  rank?: number;
  /** Number of processes. Default: WORLD_SIZE of the environment; with `mpi`, the launcher says so. */
  size?: number;
  /**
   * Where they find each other: `file:///folder`, which all of them reach and which this group alone uses, or
   * `tcp://host:port`, where rank 0 listens. Default: tcp:// with MASTER_ADDR and MASTER_PORT of the environment.
   * `mpi` needs none.
   */
  store?: string;
  /** Milliseconds without an answer, after which a rank is taken for lost; default 30000. */
  timeout?: number;
  /** Default 'gloo'. */
  engine?: GroupEngine;
  /**
   * Name or address of this machine by which the others reach it. Default: with tcp:// the one by which it reached rank
   * 0, with file:// 127.0.0.1.
   */
  host?: string;
}

const CODE = 'ERR_VRADAM_GROUP';

/** The option, or what the environment has instead. */
function count(value: unknown, name: string, variable: string, least: number, end: number): number {
  const given = value ?? (process.env[variable] ? Number(process.env[variable]) : undefined);
  if (typeof given === 'number' && Number.isInteger(given) && given >= least && given < end) return given;
  const expectation = `an integer from ${least} to ${end - 1}, or ${variable} in the environment,`;
  throw invalid(CODE, name, expectation, given);
}

/**
 * Joins a group of processes. Resolves when all of them have.
 *
 * @throws ERR_VRADAM_GROUP for an option that is missing or out of range, where the plugin is not there, and where a
 *   rank does not come within the timeout; ERR_VRADAM_HYPERPARAMETER for an unknown option.
 * @example const group = await joinGroup({ rank: 0, size: 2, store: 'tcp://10.0.0.1:29500' });
 */
export async function joinGroup(options: JoinOptions = {}): Promise<Group> {
  const names = ['rank', 'size', 'store', 'timeout', 'engine', 'host'];
  const read = readOptions(options, 'joinGroup', names) as JoinOptions;
  const { engine = 'gloo', timeout = 30_000 } = read;
  if (engine !== 'gloo' && engine !== 'mpi') throw invalid(CODE, 'engine', "'gloo' or 'mpi'", engine);
  if (!(Number.isInteger(timeout) && timeout > 0 && timeout < 2 ** 31)) {
    throw invalid(CODE, 'timeout', 'an integer of milliseconds from 1 to 2147483647', timeout);
  }
  const { plugin, reason } = loadGroupPlugin(engine);
  if (!plugin) throw new VRAdamError(CODE, `A group by ${engine} cannot be joined. ${reason}`);
  if (engine === 'mpi') {
    const group = translateNative(() => new Group(engine, new plugin.Group(0, 1, timeout, '')));
    const [rank, size] = [read.rank ?? group.rank, read.size ?? group.size];
    if (rank !== group.rank || size !== group.size) {
      const is = `The launcher of MPI says that this is rank ${group.rank} of ${group.size}`;
      throw new VRAdamError(CODE, `${is}, the options say rank ${rank} of ${size}`);
    }
    try {
      await group.handle.connect(Array.from({ length: size }, () => new Uint8Array()));
    } catch (error) {
      throw asVRAdamError(error);
    }
    return leavingAtExit(group);
  }
  const size = count(read.size, 'size', 'WORLD_SIZE', 1, 65537);
  const rank = count(read.rank, 'rank', 'RANK', 0, size);
  const { MASTER_ADDR, MASTER_PORT } = process.env;
  const store =
    read.store ?? (MASTER_ADDR && MASTER_PORT ? `tcp://${MASTER_ADDR}:${MASTER_PORT}` : undefined);
  if (typeof store !== 'string') {
    const expectation =
      "'file:///folder' or 'tcp://host:port', or MASTER_ADDR and MASTER_PORT in the environment,";
    throw invalid(CODE, 'store', expectation, store);
  }
  const signal = AbortSignal.timeout(timeout);
  let place: Rendezvous | undefined;
  try {
    place = await meet(store, rank, size, signal);
    const group = new Group(engine, new plugin.Group(rank, size, timeout, read.host ?? place.host));
    const addresses = await place.exchange(group.handle.address());
    const abort = () => group.handle.abort();
    signal.addEventListener('abort', abort);
    try {
      // Gloo itself would wait for five times as long.
      await group.handle.connect(addresses);
    } finally {
      signal.removeEventListener('abort', abort);
    }
    return leavingAtExit(group);
  } catch (error) {
    const known = asVRAdamError(error);
    if (known instanceof VRAdamError && known.code !== CODE) throw known;
    const why = signal.aborted
      ? `not all of the ${size} ranks came within ${timeout} ms`
      : error instanceof Error
        ? error.message
        : String(error);
    throw new VRAdamError(CODE, `Rank ${rank} could not join the group at ${store}: ${why}`, {
      cause: error,
    });
  } finally {
    await place?.leave();
  }
}

/** Groups of this process, which would wait at its exit while one of their steps does. */
const joined = new Set<WeakRef<Group>>();

function leavingAtExit(group: Group): Group {
  process.removeListener('exit', leaveAll).on('exit', leaveAll);
  for (const left of joined) if (left.deref() === undefined) joined.delete(left);
  joined.add(new WeakRef(group));
  return group;
}

function leaveAll(): void {
  for (const group of joined) group.deref()?.handle.abort();
}
