import type { serialization } from '@tensorflow/tfjs-core';
import { invalid, VRAdamError } from '../errors.js';
import {
  type CommonOptions,
  type GroupMatch,
  namedSettings,
  OPTIMIZERS,
  type ResolvedGroup,
  type ResolvedOptions,
  type Schedule,
} from '../options/options.js';
import { scheduleFromConfig, scheduleToConfig } from '../options/schedules.js';

type ConfigDict = serialization.ConfigDict;
type ConfigValue = serialization.ConfigDictValue;

/*
 * What TensorFlow.js does to an optimizer's configuration between `model.save` and `loadLayersModel` (4.22): JSON
 * makes {} of a RegExp or function and null of Infinity; every string value with an underscore is camel-cased,
 * unless its key is `name`; and `customObjects` is added. So what is not a plain number, boolean or word is written
 * down here in a form that survives.
 */

const PATTERN = 're:';
const EXACT = 'str:';
const INFINITE = 'infinity';

function rateToConfig(rate: number | Schedule, of: string): ConfigValue {
  if (typeof rate === 'number') return rate;
  const config = scheduleToConfig(rate);
  if (config === undefined) {
    throw new VRAdamError(
      'ERR_VRADAM_HYPERPARAMETER',
      `The learningRate of ${of} is a function, which cannot be saved. Use a number or one of schedules.`,
    );
  }
  return config as ConfigDict;
}

function rateFromConfig(rate: unknown): number | Schedule {
  return typeof rate === 'object' && rate !== null ? scheduleFromConfig(rate) : (rate as number);
}

function matchToConfig(match: GroupMatch, group: string): ConfigDict {
  if (typeof match === 'string') return { name: EXACT + match };
  if (match instanceof RegExp) return { name: PATTERN + String(match) };
  throw new VRAdamError(
    'ERR_VRADAM_HYPERPARAMETER',
    `The match of group ${group} is a function, which cannot be saved. Use a RegExp or a name.`,
  );
}

function matchFromConfig(match: unknown, argument: string): GroupMatch {
  const text = (match as { name?: unknown } | null | undefined)?.name;
  if (typeof text === 'string' && text.startsWith(EXACT)) return text.slice(EXACT.length);
  if (typeof text === 'string' && text.startsWith(PATTERN)) {
    const [, source, flags] = /^\/(.*)\/([a-z]*)$/s.exec(text.slice(PATTERN.length)) ?? [];
    if (source !== undefined) {
      try {
        return new RegExp(source, flags);
      } catch {
        // Told below, together with every other text that is no match.
      }
    }
  }
  throw invalid(
    'ERR_VRADAM_HYPERPARAMETER',
    argument,
    "{ name: 're:/…/' } or { name: 'str:…' }",
    text ?? match,
  );
}

/** Hyperparameters as they are, but for the two that JSON or TensorFlow.js would change. */
function hyperparametersToConfig(hyperparameters: object, of: string): ConfigDict {
  const config: ConfigDict = {};
  for (const [name, value] of Object.entries(hyperparameters)) {
    if (value === undefined) continue;
    if (name === 'learningRate') config[name] = rateToConfig(value as number | Schedule, of);
    // One call a step is what it was before there was this option.
    else if (name !== 'accumulateSteps' || value !== 1)
      config[name] = value === Number.POSITIVE_INFINITY ? INFINITE : value;
  }
  return config;
}

function hyperparametersFromConfig(config: object): Record<string, unknown> {
  const hyperparameters: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(config)) {
    // Absent is what null stood for: JSON has no undefined.
    if (value === null || value === undefined) continue;
    if (name === 'learningRate') hyperparameters[name] = rateFromConfig(value);
    else hyperparameters[name] = value === INFINITE ? Number.POSITIVE_INFINITY : value;
  }
  return hyperparameters;
}

/**
 * The configuration of an optimizer as JSON-safe data that survives `model.save` and `loadLayersModel`. What belongs
 * to the machine stays behind: a model saved where there is a GPU loads where there is none.
 *
 * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` where a function matches a group or is a learning rate.
 */
export function configOf(resolved: ResolvedOptions): ConfigDict {
  const { groups, optimizer, own, rule: _, engine: __, threads: ___, group: ____, ...options } = resolved;
  const settingsOf = (group: ResolvedGroup) => namedSettings(optimizer, group.settings);
  const others = groups.slice(0, -1);
  const last = groups.at(-1)!;
  const changed = Object.entries(own).filter(
    ([name, value]) => value !== OPTIMIZERS[optimizer].own[name]!.fallback,
  );
  const all = {
    learningRate: last.learningRate,
    ...settingsOf(last),
    ...Object.fromEntries(changed),
    ...options,
  };
  const config = hyperparametersToConfig(all, 'the optimizer');
  if (others.length === 0) return config;
  config.groups = others.map((group) => {
    const hyperparameters = {
      ...settingsOf(group),
      ...(group.ownLearningRate && { learningRate: group.learningRate }),
      ...(group.learningRateScale !== 1 && { learningRateScale: group.learningRateScale }),
    };
    return {
      match: matchToConfig(group.match!, group.name),
      ...hyperparametersToConfig(hyperparameters, `group ${group.name}`),
    };
  });
  return config;
}

/**
 * The arguments of an optimizer from its configuration; the optimizer checks them like any others.
 *
 * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` where a match or a schedule cannot be read.
 */
export function argumentsOf(config: ConfigDict): [learningRate: number | Schedule, options: CommonOptions] {
  if (typeof config !== 'object' || config === null) {
    throw invalid('ERR_VRADAM_HYPERPARAMETER', 'config', 'an object as getConfig gives it', config);
  }
  const { groups, customObjects: _, ...rest } = config;
  const { learningRate, ...options } = hyperparametersFromConfig(rest);
  if (groups !== undefined && groups !== null) {
    if (!Array.isArray(groups)) throw invalid('ERR_VRADAM_HYPERPARAMETER', 'groups', 'a list', groups);
    options.groups = groups.map((group, i) => {
      if (typeof group !== 'object' || group === null || Array.isArray(group)) {
        throw invalid('ERR_VRADAM_HYPERPARAMETER', `groups[${i}]`, 'an object', group);
      }
      const { match, ...hyperparameters } = group;
      return {
        match: matchFromConfig(match, `groups[${i}].match`),
        ...hyperparametersFromConfig(hyperparameters),
      };
    });
  }
  return [learningRate as number | Schedule, options];
}
