import {
  namedSettings,
  type OptimizerName,
  type ResolvedGroup,
  type ResolvedOptions,
  type Schedule,
} from '../options/options.js';
import { type ScheduleConfig, scheduleToConfig } from '../options/schedules.js';

/** A learning rate as JSON can hold it. Schedules are not asked. */
function describeRate(rate: number | Schedule): number | string | ScheduleConfig {
  return typeof rate === 'number' ? rate : (scheduleToConfig(rate) ?? 'a function');
}

/** Name, learning rate and hyperparameters of a group as JSON can hold them. */
export function describeGroup(group: ResolvedGroup, optimizer: OptimizerName) {
  const { name, learningRate, learningRateScale, settings } = group;
  const { lrCutoff } = settings;
  return {
    name,
    learningRate: describeRate(learningRate),
    ...(learningRateScale !== 1 && { learningRateScale }),
    ...namedSettings(optimizer, settings),
    lrCutoff: lrCutoff === Number.POSITIVE_INFINITY ? 'infinity' : lrCutoff,
  };
}

/**
 * Options and groups as a checkpoint's metadata, for whoever opens the file; loading does not use them.
 *
 * @param tensors In order of registration, each with the number of its group.
 */
export function describeOptions(
  { rule, optimizer, groups, clipNorm, clipValue, gradientScale, onNonFinite }: ResolvedOptions,
  tensors: readonly { readonly name: string; readonly group: number }[],
): Record<string, string> {
  return {
    ...(rule !== 'adam' && { rule }),
    options: JSON.stringify({ clipNorm, clipValue, gradientScale, onNonFinite }),
    groups: JSON.stringify(
      groups.map((group, i) => ({
        ...describeGroup(group, optimizer),
        tensors: tensors.filter((tensor) => tensor.group === i).map(({ name }) => name),
      })),
    ),
  };
}
