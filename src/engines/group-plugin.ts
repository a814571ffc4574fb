import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type GroupAddon, loadAddon, packageRoot } from './addon.js';
import type { GroupEngine } from './group.js';

/** A plugin that carries messages, or why it cannot be used here, in a sentence without its full stop. */
export type GroupPluginLoad =
  | { readonly plugin: GroupAddon; readonly reason?: undefined }
  | { readonly plugin?: undefined; readonly reason: string };

/** Where `vradam build` puts a plugin, below the package's folder or another. */
export const groupPluginFile = (engine: GroupEngine): string => join('build-group', `libvradam_${engine}.so`);

/** What names another plugin in the environment. */
export const groupPluginVariable = (engine: GroupEngine): string => `VRADAM_${engine.toUpperCase()}_PLUGIN`;

/** Opens the plugin that VRADAM_GLOO_PLUGIN or VRADAM_MPI_PLUGIN names, or that `vradam build` made. */
export function loadGroupPlugin(engine: GroupEngine): GroupPluginLoad {
  const { addon, reason } = loadAddon();
  if (addon === undefined) return { reason };
  const path = process.env[groupPluginVariable(engine)] || join(packageRoot(), groupPluginFile(engine));
  if (!existsSync(path)) return { reason: `There is no ${path}; "npx vradam build --${engine}" makes it` };
  const opened = addon.openGroup(path);
  return 'reason' in opened ? opened : { plugin: opened };
}
