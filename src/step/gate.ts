import { VRAdamError } from '../errors.js';

/**
 * Who may use an optimizer when: nobody from inside a schedule, nobody but the next asynchronous step while one is
 * pending, and nobody after `dispose`, which frees what the optimizer holds as soon as nothing runs on it.
 */
export class Gate {
  readonly #free: () => void;
  #inSchedule = false;
  /** Asynchronous steps that have not ended, and the end of the last of them. */
  #pending = 0;
  #lastPending: Promise<void> = Promise.resolve();
  #isDisposed = false;
  #isFreed = false;

  constructor(free: () => void) {
    this.#free = free;
  }

  get isDisposed(): boolean {
    return this.#isDisposed;
  }

  /** @throws ERR_VRADAM_DISPOSED after `dispose`. */
  assertNotDisposed(): void {
    if (this.#isDisposed) throw disposed();
  }

  /**
   * What an asynchronous step asks for: pending ones are no obstacle, it runs behind them.
   *
   * @throws ERR_VRADAM_DISPOSED after `dispose`; ERR_VRADAM_ENGINE from inside a schedule.
   */
  assertOpen(): void {
    this.assertNotDisposed();
    if (this.#inSchedule) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        'A step is already running: a schedule must not use the optimizer that asks it for a learning rate',
      );
    }
  }

  /**
   * @throws ERR_VRADAM_DISPOSED after `dispose`; ERR_VRADAM_ENGINE from inside a schedule, or while an
   *   asynchronous step is pending.
   */
  assertIdle(): void {
    this.assertOpen();
    if (this.#pending > 0) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        'An asynchronous step is pending: await the promise of stepAsync before using the optimizer',
      );
    }
  }

  /** Runs schedules, which are code of the caller: until they return, the optimizer is closed to them. */
  askSchedules<T>(ask: () => T): T {
    if (this.#inSchedule) this.assertOpen();
    this.#inSchedule = true;
    try {
      return ask();
    } finally {
      this.#inSchedule = false;
      this.#freeIfUnused();
    }
  }

  /** @throws ERR_VRADAM_DISPOSED where a schedule has disposed the optimizer that asked it. */
  assertNotFreed(): void {
    if (this.#isFreed) throw disposed();
  }

  /** Runs an asynchronous step when those before it have ended. */
  async inTurn<T>(step: () => Promise<T>): Promise<T> {
    const before = this.#pending > 0 ? this.#lastPending : undefined;
    let ended = () => {};
    this.#lastPending = new Promise((resolve) => {
      ended = resolve;
    });
    this.#pending++;
    try {
      if (before !== undefined) await before;
      return await step();
    } finally {
      this.#pending--;
      ended();
      this.#freeIfUnused();
    }
  }

  /** Closes for good, and frees at once or when the pending steps have ended. Calling it again does nothing. */
  dispose(): void {
    this.#isDisposed = true;
    this.#freeIfUnused();
  }

  #freeIfUnused(): void {
    if (!this.#isDisposed || this.#isFreed || this.#pending > 0 || this.#inSchedule) return;
    this.#isFreed = true;
    this.#free();
  }
}

function disposed(): VRAdamError {
  return new VRAdamError('ERR_VRADAM_DISPOSED', 'The optimizer was disposed; make a new one');
}
