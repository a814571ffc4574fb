import type { StepOutcome } from '../engines/engine.js';

/**
 * Numbers that every report begins with: applied, refusals, gradient norm, clip coefficient. The penalties of the
 * groups follow, then their effective learning rates.
 */
export const REPORT_FIELDS = 4;

/** What a step did. */
export interface DeviceOutcome extends Omit<StepOutcome, 'refusal'> {
  /** Where refusals are sticky, the step that was refused first, or 0; else how many were. */
  readonly refusals: number;
}

/** @param values Of the tensor that `Device.step` gave. */
export function readReport(values: Float32Array): DeviceOutcome {
  const groups = (values.length - REPORT_FIELDS) / 2;
  return {
    applied: values[0] === 1,
    refusals: values[1]!,
    gradientNorm: values[2]!,
    clipCoefficient: values[3]!,
    penalties: [...values.subarray(REPORT_FIELDS, REPORT_FIELDS + groups)],
    effectiveLearningRates: [...values.subarray(REPORT_FIELDS + groups)],
  };
}
