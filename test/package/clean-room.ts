import { spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../..', import.meta.url));
export const packageFolder = path.join(repository, 'build-package', 'package');
/** Downloads of npm, pnpm and yarn, kept between runs. */
export const caches = path.join(repository, 'build-npm-cache');

/** The packed package; throws where it has not been made. */
export function tarball(): string {
  const folder = path.join(repository, 'build-package');
  const found = readdirSync(folder).find((file) => file.endsWith('.tgz'));
  if (!found) throw new Error('There is no packed package: npm run package');
  return path.join(folder, found);
}

/** Whatever compiles or links, and what node-gyp asks for. */
const toolchain =
  /^(.*-)?(g\+\+|gcc|cc|c\+\+|c[89]9|cpp|clang|clang\+\+|ld|gold|as|ar|gmake|make|cmake|ninja|meson|nvcc|python\d?|pip\d?|tcc)([.-][\d.]+)?$/;

/** What came of a command. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

interface RunOptions {
  readonly folder?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
}

/** A machine as a user may have it: an empty home folder and a PATH of our choice, in a temporary folder. */
export class CleanRoom {
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(options: { compilers: boolean }) {
    this.folder = mkdtempSync(path.join(tmpdir(), 'vradam-install-'));
    chmodSync(this.folder, 0o755);
    const bin = this.makeFolder('bin');
    const taken = new Set<string>();
    for (const place of (process.env.PATH ?? '').split(path.delimiter)) {
      for (const name of list(place)) {
        if (taken.has(name) || place.includes('node_modules')) continue;
        if (!options.compilers && toolchain.test(name)) continue;
        taken.add(name);
        symlinkSync(path.join(place, name), path.join(bin, name));
      }
    }
    const passed = Object.entries(process.env).filter(([name]) =>
      /^((https?|no)_proxy|npm_config_registry)$/i.test(name),
    );
    this.#env = {
      ...Object.fromEntries(passed),
      PATH: bin,
      HOME: this.makeFolder('home'),
      TMPDIR: this.makeFolder('tmp'),
      npm_config_cache: path.join(caches, 'npm'),
      npm_config_prefer_offline: 'true',
      npm_config_update_notifier: 'false',
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      YARN_CACHE_FOLDER: path.join(caches, 'yarn'),
    };
    chmodSync(path.join(this.folder, 'home'), 0o777);
    chmodSync(path.join(this.folder, 'tmp'), 0o777);
  }

  makeFolder(name: string): string {
    const folder = path.join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** A project of a user, without dependencies. */
  makeProject(files: Readonly<Record<string, string>> = {}): string {
    const folder = this.makeFolder('project');
    const all = { 'package.json': '{"name":"project","private":true}', ...files };
    for (const [name, content] of Object.entries(all)) writeFileSync(path.join(folder, name), content);
    return folder;
  }

  run(command: string, args: readonly string[], options: RunOptions = {}): Outcome {
    const start = performance.now();
    // Into files: programs in Wine can write to no pipe of ours.
    const written = ['stdout', 'stderr'].map((name) => path.join(this.folder, name));
    const files = written.map((file) => openSync(file, 'w'));
    const { status, error } = spawnSync(command, args, {
      cwd: options.folder ?? path.join(this.folder, 'project'),
      env: { ...this.#env, ...options.env },
      stdio: ['ignore', ...files],
      ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    });
    files.map(closeSync);
    if (error) throw error;
    const [stdout, stderr] = written.map((file) => readFileSync(file, 'utf8')) as [string, string];
    return { code: status, stdout, stderr, milliseconds: performance.now() - start };
  }

  /** The same, and throws with what was written where it fails. */
  done(command: string, args: readonly string[], options: RunOptions = {}): Outcome {
    const outcome = this.run(command, args, options);
    if (outcome.code !== 0) {
      throw new Error(
        `${command} ${args.join(' ')} ended with ${outcome.code}\n${outcome.stdout}\n${outcome.stderr}`,
      );
    }
    return outcome;
  }

  remove(): void {
    this.done('chmod', ['-R', 'u+w', this.folder], { folder: this.folder });
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** The executables of a folder of PATH. */
function list(folder: string): string[] {
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.filter((name) => {
    try {
      accessSync(path.join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
