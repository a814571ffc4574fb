import { describe, expect, it } from 'vitest';
import type { EngineName, EngineSettings } from '../../src/engines/engine.js';
import { JavaScriptEngine } from '../../src/engines/javascript.js';
import { OPTIMIZERS, resolveOptions } from '../../src/options/options.js';
import { Stepper } from '../../src/step/stepper.js';

/** An engine that knows whether it is still there, and how many elements it has room for. */
class LimitedEngine extends JavaScriptEngine {
  disposed = 0;

  constructor(
    settings: EngineSettings,
    readonly room: number,
  ) {
    super(settings);
  }

  override addTensor(group: number, size: number): number {
    if (size > this.room) throw new RangeError('no room');
    return super.addTensor(group, size);
  }

  override dispose(): void {
    this.disposed++;
    super.dispose();
  }
}

/** A stepper whose engines have this room, and the engines that were made. */
function stepperWith(room: Partial<Record<EngineName, number>>) {
  const made: LimitedEngine[] = [];
  const stepper = new Stepper(resolveOptions(0.1, { engine: 'cuda' }, OPTIMIZERS.adam), {
    createEngine(name, settings) {
      const engine = new LimitedEngine(settings, room[name as EngineName]!);
      made.push(engine);
      return engine;
    },
  });
  return { stepper, made };
}

describe('a stepper that changes its engine', () => {
  const step = (stepper: Stepper) => {
    const parameters = [Float32Array.of(1, 2)];
    const gradients = [Float32Array.of(1, -1)];
    const scalars = stepper.prepare();
    const input = { parametersIn: parameters, parametersOut: parameters, gradients, ...scalars };
    stepper.conclude(stepper.engine.step(input));
  };

  it('takes the state along, and disposes the old engine once', () => {
    const { stepper, made } = stepperWith({ cuda: 10, cpu: 10 });
    stepper.register('w', 2);
    step(stepper);
    const before = stepper.engine.readTensor(0);
    stepper.changeEngine('cpu');
    expect(stepper.engine).toBe(made[1]);
    expect(stepper.engine.readTensor(0)).toEqual(before);
    expect(made.map(({ disposed }) => disposed)).toEqual([1, 0]);
    stepper.gate.dispose();
    expect(made.map(({ disposed }) => disposed)).toEqual([1, 1]);
  });

  it('stays with the old one where the new one has no room, and disposes that', () => {
    const { stepper, made } = stepperWith({ cuda: 10, cpu: 1 });
    stepper.register('w', 2);
    step(stepper);
    const before = stepper.engine.readTensor(0);
    expect(() => stepper.changeEngine('cpu')).toThrow('no room');
    expect(stepper.engine).toBe(made[0]);
    expect(stepper.engine.readTensor(0)).toEqual(before);
    expect(made.map(({ disposed }) => disposed)).toEqual([0, 1]);
  });
});
