import type { EngineName, StepOutcome } from '../engines/engine.js';
import { VRAdamError } from '../errors.js';
import type { ResolvedOptions } from '../options/options.js';

/** What a step did to one group. */
export interface GroupReport {
  /** The group's match as written, or 'default'. */
  name: string;
  /** η in double precision; NaN where the step was refused. */
  effectiveLearningRate: number;
  /** N; absent where beta3 is 0 or the step was refused. */
  penalty?: number;
}

/** What a step did. */
export interface StepReport {
  /** Number of the attempt, from 1. */
  step: number;
  /** False where a gradient that is not finite refused the step; then nothing has changed. */
  applied: boolean;
  /** With `accumulateSteps`: that the gradients wait for those of other calls, and nothing else has changed. */
  accumulated?: boolean;
  engine: EngineName;
  /** How the tensors were reached. */
  adapter: string;
  /** Bytes of parameters and gradients that were copied to reach the engine and back. */
  copiedBytes: number;
  /** ‖gradientScale·g‖ over all groups; absent without `clipNorm`. */
  gradientNorm?: number;
  /** What clipping multiplied the gradients by; absent without `clipNorm`. */
  clipCoefficient?: number;
  /** In the order of the option `groups`, the default group last. */
  groups: GroupReport[];
}

/** What of a report is known before the step has run. */
export type StepPlace = Pick<StepReport, 'step' | 'engine' | 'adapter'>;

/** The report of a step from its outcome. */
export function reportOf(
  { step, engine, adapter }: StepPlace,
  outcome: Omit<StepOutcome, 'refusal'>,
  { groups, clipNorm }: ResolvedOptions,
): StepReport {
  // Spreads would take V8 longer than a small step.
  const report: StepReport = {
    step,
    engine,
    adapter,
    applied: outcome.applied,
    copiedBytes: outcome.copiedBytes ?? 0,
    groups: groups.map(({ name, settings }, i) => {
      if (!outcome.applied) return { name, effectiveLearningRate: Number.NaN };
      const effectiveLearningRate = outcome.effectiveLearningRates[i]!;
      if (settings.beta3 === 0) return { name, effectiveLearningRate };
      return { name, effectiveLearningRate, penalty: outcome.penalties[i]! };
    }),
  };
  if (outcome.accumulated) report.accumulated = true;
  if (clipNorm !== undefined) {
    report.gradientNorm = outcome.gradientNorm;
    report.clipCoefficient = outcome.clipCoefficient;
  }
  return report;
}

/**
 * The report of a step that was enqueued: reading a figure waits for it.
 *
 * @param read Waits for the report.
 */
export function pendingReport(
  place: StepPlace,
  read: () => StepReport,
  { clipNorm }: ResolvedOptions,
): StepReport {
  const late: (keyof StepReport)[] = ['applied', 'groups'];
  if (clipNorm !== undefined) late.push('gradientNorm', 'clipCoefficient');
  const getters = late.map((key) => [key, { enumerable: true, get: () => read()[key] }] as const);
  return Object.defineProperties({ ...place, copiedBytes: 0 } as StepReport, Object.fromEntries(getters));
}

/** What `onNonFinite: 'throw'` throws. */
export function refusalError(
  { element, value }: NonNullable<StepOutcome['refusal']>,
  name: string,
  { gradientScale }: ResolvedOptions,
): VRAdamError {
  const scaled = gradientScale === 1 ? '' : ` after scaling by ${gradientScale}`;
  const why = Number.isFinite(value)
    ? `${value}, whose square is not finite in float32${scaled}`
    : `${value}`;
  return new VRAdamError(
    'ERR_VRADAM_NON_FINITE',
    `Expected finite gradients but element ${element} of the gradient of ${name} is ${why}; the step was refused and nothing has changed`,
  );
}
