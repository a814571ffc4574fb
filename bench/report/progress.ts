import cliProgress from 'cli-progress';

/** The bar of one stretch of work. On anything but a terminal it draws nothing. */
export interface ProgressBar {
  /** Shows `value` of the total done, and a line of figures beside the bar. */
  update(value: number, figures: string): void;
  /** Takes the bar off the screen. */
  stop(): void;
}

/**
 * Draws a progress bar on standard error, so that standard output holds results only.
 *
 * @param label What is being done, in front of the bar.
 * @param total The value at which the bar is full.
 */
export function progressBar(label: string, total: number): ProgressBar {
  const bar = new cliProgress.SingleBar({
    format: `${label} {bar} {percentage}% {figures}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    clearOnComplete: true,
    hideCursor: true,
    stopOnComplete: false,
  });
  bar.start(total, 0, { figures: '' });
  return {
    update: (value, figures) => bar.update(value, { figures }),
    stop: () => bar.stop(),
  };
}
