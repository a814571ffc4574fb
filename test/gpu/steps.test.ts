import { describe, expect, it } from 'vitest';
import { cuda } from '../../src/engines/cuda-device.js';
import { FlatOptimizer } from '../../src/flat.js';
import type { StepReport } from '../../src/step/report.js';
import { randomNumbers, randomValues } from '../unit/scenarios.js';
import { onGpu } from './plugin.js';

const sizes = { kernel: 9000, empty: 0, bias: 7 } as const;
type Named = Record<keyof typeof sizes, Float32Array>;

function values(seed: number): Named {
  const random = randomNumbers(seed);
  const of = (size: number) => randomValues(size, random);
  return { kernel: of(sizes.kernel), empty: of(0), bias: of(sizes.bias) };
}

function onDevice(arrays: Named) {
  return {
    kernel: cuda.array(arrays.kernel),
    empty: cuda.array(arrays.empty),
    bias: cuda.array(arrays.bias),
  };
}

const bad = expect.objectContaining({ code: 'ERR_VRADAM_NON_FINITE' });

describe('steps on device arrays', () => {
  it('give the bytes, the reports and the state of the CPU engine', () => {
    const options = {
      clipNorm: 2,
      gradientScale: 0.5,
      groups: [{ match: 'bias', beta3: 0, learningRate: 0.1 }],
      learningRate: (step: number) => 1 / (10 + step),
    };
    using here = new FlatOptimizer(sizes, { ...options, engine: 'cpu' });
    using there = new FlatOptimizer(sizes, { ...options, engine: 'cuda' });
    const p = values(1);
    const deviceP = onDevice(p);
    const expected: StepReport[] = [];
    const reports: StepReport[] = [];
    for (let i = 0; i < 5; i++) {
      const g = values(2 + i);
      const deviceG = onDevice(g);
      expected.push(i === 3 ? here.step(p, { bias: g.bias }) : here.step(p, g));
      reports.push(i === 3 ? there.step(deviceP, { bias: deviceG.bias }) : there.step(deviceP, deviceG));
    }
    // The last first: each report has the figures of its own step, whenever it is read.
    for (const [i, report] of [...reports.entries()].reverse()) {
      expect({ ...report, engine: 'cpu' }).toEqual(expected[i]);
    }
    expect(deviceP.kernel.toArray()).toEqual(p.kernel);
    expect(deviceP.bias.toArray()).toEqual(p.bias);
    expect(there.getState()).toEqual(here.getState());
    expect(there.lastStep).toBe(reports[4]);
  });

  it('keep averages, which are swapped on the device', () => {
    const options = { rule: 'adam', averaging: { decay: 0.75 } } as const;
    using here = new FlatOptimizer(sizes, { ...options, engine: 'cpu' });
    using there = new FlatOptimizer(sizes, { ...options, engine: 'cuda' });
    const p = values(1);
    const deviceP = onDevice(p);
    for (let i = 0; i < 4; i++) {
      const g = values(2 + i);
      const deviceG = onDevice(g);
      if (i === 0) here.step(p, { bias: g.bias });
      else here.step(p, g);
      if (i === 0) there.step(deviceP, { bias: deviceG.bias });
      else there.step(deviceP, deviceG);
    }
    expect(there.getState()).toEqual(here.getState());
    for (let i = 0; i < 2; i++) {
      here.swapAverages(p);
      there.swapAverages(deviceP);
      expect(deviceP.kernel.toArray()).toEqual(p.kernel);
      expect(deviceP.bias.toArray()).toEqual(p.bias);
      const step = () => there.step(deviceP, onDevice(values(9)));
      if (i === 0) expect(step).toThrow('call swapAverages again first');
    }
  });

  it.each(['throw', 'skip'] as const)(
    'are made of several calls, bad ones left out: %s',
    async (onNonFinite) => {
      const options = { clipNorm: 2, accumulateSteps: 3, onNonFinite, averaging: { decay: 0.75 } };
      using here = new FlatOptimizer(sizes, { ...options, engine: 'cpu' });
      using there = new FlatOptimizer(sizes, { ...options, engine: 'cuda' });
      const p = values(1);
      const deviceP = onDevice(p);
      for (let call = 0; call < 8; call++) {
        const g = values(2 + call);
        if (call === 1 || call === 4) g.kernel[8999] = Number.NaN;
        const deviceG = onDevice(g);
        if (onNonFinite === 'throw' && call === 4) {
          expect(() => here.step(p, g)).toThrow(bad);
          await expect(there.stepAsync(deviceP, deviceG)).rejects.toThrow(bad);
        } else if (onNonFinite === 'throw' && call === 1) {
          for (const step of [() => here.step(p, g), () => there.step(deviceP, deviceG)])
            expect(step).toThrow('element 8999 of the gradient of kernel is NaN');
        } else {
          const expected = here.step(p, g);
          expect(there.step(deviceP, deviceG)).toEqual({ ...expected, engine: 'cuda' });
        }
        expect([there.iterations, there.accumulatedSteps, there.skippedSteps]).toEqual([
          here.iterations,
          here.accumulatedSteps,
          here.skippedSteps,
        ]);
        expect(deviceP.kernel.toArray()).toEqual(p.kernel);
      }
      expect(here.iterations).toBe(2);
      expect(there.getState()).toEqual(here.getState());
      // What waits goes with a state that is replaced.
      const [gradients, deviceGradients] = [values(20), onDevice(values(20))];
      for (let call = 0; call < 4; call++) {
        if (call === 1) for (const one of [here, there]) one.setState(one.getState());
        here.step(p, gradients);
        there.step(deviceP, deviceGradients);
      }
      expect(there.getState()).toEqual(here.getState());
      expect(here.iterations).toBe(3);
    },
  );

  it('go on to the same bytes from a state that was read and written', () => {
    const p = onDevice(values(1));
    const copy = onDevice(values(1));
    using first = new FlatOptimizer(sizes, { engine: 'cuda' });
    using second = new FlatOptimizer(sizes, { engine: 'cuda' });
    const g = onDevice(values(2));
    first.step(p, g);
    second.step(copy, { kernel: null, bias: null });
    copy.kernel.copyFrom(p.kernel.toArray());
    copy.bias.copyFrom(p.bias.toArray());
    second.setState(first.getState());
    for (const optimizer of [first, second]) optimizer.step(optimizer === first ? p : copy, g);
    expect(copy.kernel.toArray()).toEqual(p.kernel.toArray());
    expect(second.getState()).toEqual(first.getState());
  });

  it('alternate with steps on the memory of the host, in order', () => {
    using here = new FlatOptimizer(70, { engine: 'cpu' });
    using there = new FlatOptimizer(70, { engine: 'cuda' });
    const random = randomNumbers(5);
    const p = randomValues(70, random);
    const hostP = p.slice();
    const deviceP = cuda.array(p);
    for (let i = 0; i < 4; i++) {
      const g = randomValues(70, random);
      here.step(p, g);
      if (i % 2 === 0) {
        there.step(deviceP, cuda.array(g));
        hostP.set(deviceP.toArray());
      } else {
        const { copiedBytes, applied } = there.step(hostP, g);
        expect({ copiedBytes, applied }).toEqual({ copiedBytes: 3 * 4 * 70, applied: true });
        deviceP.copyFrom(hostP);
      }
      expect(hostP).toEqual(p);
    }
  });

  it('keep the figures of more steps than the device has room for', () => {
    using optimizer = new FlatOptimizer(1, { engine: 'cuda', beta3: 0, learningRate: (step) => step });
    const [p, g] = [cuda.array(1), cuda.array(Float32Array.of(1))];
    const reports = Array.from({ length: 2500 }, () => optimizer.step(p, g));
    for (const i of [2499, 0, 1023, 1024, 1500]) {
      expect(reports[i]!.step).toBe(i + 1);
      expect(reports[i]!.groups[0]!.effectiveLearningRate).toBe(i);
    }
  });

  it('can be awaited', async () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda' });
    const [p, g] = [cuda.array(3), cuda.array(Float32Array.of(1, 2, 3))];
    const report = await optimizer.stepAsync(p, g);
    expect(report.applied).toBe(true);
    optimizer.step(p, g);
    await optimizer.synchronize();
    expect(optimizer.getState().tensors[0]!.steps).toBe(2);
  });

  it('on the memory of the host can be awaited too', async () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda' });
    const p = Float32Array.of(1, 2, 3);
    await Promise.all([
      optimizer.stepAsync(p, Float32Array.of(1, 1, 1)),
      optimizer.stepAsync(p, Float32Array.of(1, 1, 1)),
    ]);
    expect(p[0]).toBeLessThan(1);
    expect(optimizer.getState().tensors[0]!.steps).toBe(2);
  });

  it('and steps on arrays of the host, asynchronous ones too, each have their own report', async () => {
    using optimizer = new FlatOptimizer(2, { engine: 'cuda', learningRate: (step) => step + 1 });
    const [p, g] = [cuda.array(2), cuda.array(Float32Array.of(1, 1))];
    const on = [new Float32Array(2), Float32Array.of(1, 1)] as const;
    const reports = [
      optimizer.step(p, g),
      await optimizer.stepAsync(...on),
      optimizer.step(p, g),
      optimizer.step(...on),
    ];
    const here = new FlatOptimizer(2, { engine: 'cpu', learningRate: (step) => step + 1 });
    const [q, h] = [new Float32Array(2), Float32Array.of(1, 1)];
    const other = new Float32Array(2);
    const expected = [here.step(q, h), here.step(other, h), here.step(q, h), here.step(other, h)];
    expect(reports.map(({ groups }) => groups)).toEqual(expected.map(({ groups }) => groups));
  });

  it('that were refused are told by the asynchronous step on arrays of the host that comes next', async () => {
    using optimizer = new FlatOptimizer(1, { engine: 'cuda' });
    optimizer.step(cuda.array(1), cuda.array(Float32Array.of(Number.NaN)));
    const [p, g] = [new Float32Array(1), Float32Array.of(1)];
    await expect(optimizer.stepAsync(p, g)).rejects.toEqual(bad);
    expect((await optimizer.stepAsync(p, g)).applied).toBe(true);
  });
});

describe('a gradient that is not finite', () => {
  const poison = Float32Array.of(1, Number.NaN, 1);

  it('halts the steps behind it until the error has been read', async () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda' });
    const [p, g, nan] = [cuda.array(3), cuda.array(Float32Array.of(1, 1, 1)), cuda.array(poison)];
    optimizer.step(p, g);
    const before = p.toArray();
    const refused = optimizer.step(p, nan);
    // A later call may find it already.
    let behind: StepReport | undefined;
    let error: unknown;
    try {
      behind = optimizer.step(p, g);
      await optimizer.synchronize();
    } catch (found) {
      error = found;
    }
    expect(error).toEqual(bad);
    expect(String(error)).toMatch(/element 1 of the gradient of tensor0 is NaN/);
    expect(refused.applied).toBe(false);
    expect(behind?.applied ?? false).toBe(false);
    expect(p.toArray()).toEqual(before);
    expect(optimizer.getState().tensors[0]!.steps).toBe(1);

    expect(optimizer.step(p, g).applied).toBe(true);
    expect(optimizer.getState().tensors[0]!.steps).toBe(2);
  });

  it('is found by whoever reads the report, once', () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda' });
    const report = optimizer.step(cuda.array(3), cuda.array(poison));
    expect(() => report.applied).toThrow(bad);
    expect(report.applied).toBe(false);
    expect(report.groups).toEqual([{ name: 'default', effectiveLearningRate: Number.NaN }]);
    expect(optimizer.lastStep).toBe(report);
  });

  it('is found by whoever reads the state', () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda' });
    optimizer.step(cuda.array(3), cuda.array(poison));
    expect(() => optimizer.getState()).toThrow(bad);
    expect(optimizer.getState().tensors[0]!.steps).toBe(0);
  });

  it('is counted where it is to be skipped, and the steps behind it go on', () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda', onNonFinite: 'skip' });
    const [p, g, nan] = [cuda.array(3), cuda.array(Float32Array.of(1, 1, 1)), cuda.array(poison)];
    const reports = [g, nan, g, nan].map((gradient) => optimizer.step(p, gradient));
    expect(optimizer.skippedSteps).toBe(2);
    expect(reports.map(({ applied }) => applied)).toEqual([true, false, true, false]);
    expect(optimizer.getState().tensors[0]!.steps).toBe(2);
    expect(optimizer.iterations).toBe(4);
  });

  it('passes where it is to be ignored', () => {
    using optimizer = new FlatOptimizer(3, { engine: 'cuda', onNonFinite: 'ignore' });
    const p = cuda.array(3);
    expect(optimizer.step(p, cuda.array(poison)).applied).toBe(true);
    expect(p.toArray()[1]).toBeNaN();
  });
});

it.skipIf(onGpu)('a device that refuses a command goes on, and nothing has changed', () => {
  using optimizer = new FlatOptimizer(3, { engine: 'cuda' });
  const [p, g] = [cuda.array(3), cuda.array(3)];
  process.env.VRADAM_CUDA_EMULATED_FAULT = 'refusal';
  try {
    expect(() => optimizer.step(p, g)).toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_ENGINE',
        message: expect.stringMatching(/The GPU refused a command: .*; nothing has changed/),
      }),
    );
  } finally {
    delete process.env.VRADAM_CUDA_EMULATED_FAULT;
  }
  expect(optimizer.step(p, g).applied).toBe(true);
  expect(optimizer.getState().tensors[0]!.steps).toBe(1);
});

it.skipIf(onGpu)('a device that fails says so at the call that finds it, and ever after', () => {
  const optimizer = new FlatOptimizer(3, { engine: 'cuda' });
  const [p, g] = [cuda.array(3), cuda.array(3)];
  const lost = expect.objectContaining({
    code: 'ERR_VRADAM_ENGINE',
    message: expect.stringMatching(/The GPU failed: .* Parameters and state on the device are lost/),
  });
  process.env.VRADAM_CUDA_EMULATED_FAULT = 'launch';
  try {
    expect(() => optimizer.step(p, g)).toThrow(lost);
  } finally {
    delete process.env.VRADAM_CUDA_EMULATED_FAULT;
  }
  expect(() => optimizer.step(p, g)).toThrow(lost);
  expect(() => optimizer.getState()).toThrow(lost);
  optimizer.dispose();
});
