import type { StabilityResult } from './stability.js';

/** Steps at the end whose mean loss stands for the end. */
const LAST_STEPS = 50;

/** Mean loss of the last steps; undefined where training diverged. */
export function endLoss({ losses, divergedAt }: StabilityResult): number | undefined {
  if (divergedAt !== undefined || losses.length === 0) return undefined;
  const last = losses.slice(-LAST_STEPS);
  return last.reduce((sum, loss) => sum + loss, 0) / last.length;
}

/** A run has survived its rate where it still learned: it ended below half of its first loss. */
export function survived(result: StabilityResult): boolean {
  const end = endLoss(result);
  return end !== undefined && end < result.losses[0]! / 2;
}

/** How far the loss rose in all steps together, in parts of the first loss; undefined where training diverged. */
export function oscillation({ losses, divergedAt }: StabilityResult): number | undefined {
  if (divergedAt !== undefined || losses.length < 2) return undefined;
  let rises = 0;
  for (let step = 1; step < losses.length; step++) rises += Math.max(0, losses[step]! - losses[step - 1]!);
  return rises / losses[0]!;
}
