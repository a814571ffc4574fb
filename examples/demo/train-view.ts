import { median } from '../../bench/statistics.js';
import { BACKENDS, type BackendName, startBackend } from './backends.js';
import { Chart, showLines } from './charts.js';
import { type PageDigits, unpackDigits } from './digits.js';
import { byId, frameKeeper, millisecondsText, type Task } from './task.js';
import { CONTENDERS, type ContenderName, type StepFigures, stepsOf, train } from './training.js';

/** The digits, once they are fetched. */
let digits: PageDigits | undefined;

async function fetchDigits(): Promise<PageDigits> {
  const { ok, status, body } = await fetch('digits.bin');
  if (!ok || body === null) throw new Error(`The digits cannot be fetched (HTTP status ${status}).`);
  const packed = new Response(body.pipeThrough(new DecompressionStream('deflate')));
  return unpackDigits(new Uint8Array(await packed.arrayBuffer()));
}

/** Steps whose median is shown. */
const RECENT = 25;

/** What is shown of the steps so far, a row of the table each. */
interface Figure {
  readonly title: string;
  readonly unit?: string;
  readonly logarithmic?: boolean;
  readonly text: (value: number) => string;
  /** Undefined where there is nothing new. */
  readonly of: (recent: readonly StepFigures[]) => number | undefined;
}
const FIGURES: readonly Figure[] = [
  {
    title: 'Loss',
    logarithmic: true,
    text: (loss) => loss.toPrecision(3),
    of: (recent) => median(recent.map(({ loss }) => loss)),
  },
  {
    title: 'Accuracy on test digits',
    unit: ' %',
    text: (percent) => percent.toFixed(1),
    of: (recent) => recent.at(-1)!.accuracy,
  },
  {
    title: 'Effective learning rate',
    text: (rate) => Number(rate.toPrecision(3)).toString(),
    of: (recent) => recent.at(-1)!.effectiveLearningRate,
  },
  {
    title: 'Optimizer step',
    unit: ' ms',
    logarithmic: true,
    text: millisecondsText,
    of: (recent) => median(recent.map(({ stepMilliseconds }) => stepMilliseconds)),
  },
  {
    title: 'Whole training step',
    unit: ' ms',
    text: millisecondsText,
    of: (recent) => median(recent.map(({ milliseconds }) => milliseconds)),
  },
];
/** The last row has no chart. */
const DRAWN = 4;

/** Milliseconds between drawings, and how much longer than a drawing that is at the least. */
const REDRAW = 200;
const DRAWING_SHARE = 10;

/** Trains as the form says, and shows how it goes. */
export function trainTask(): Task {
  const form = byId<HTMLFormElement>('train');
  const cells = [...byId('figures').querySelectorAll('tbody tr')].map((row) => row.querySelectorAll('td'));
  const area = byId('train-charts');
  const charts = FIGURES.slice(0, DRAWN).map(({ title }) => new Chart(area, title));
  /** Of each figure, the points of each contender. */
  let points: Record<ContenderName, [number, number][]>[] = [];
  let steps = 1;

  const draw = () => {
    for (const [i, { text, unit = '', logarithmic = false }] of FIGURES.entries()) {
      for (const [column, name] of CONTENDERS.entries()) {
        const last = points[i]![name].at(-1);
        cells[i]![column]!.textContent = last === undefined ? '–' : text(last[1]) + unit;
      }
      const chart = charts[i];
      if (chart) showLines(chart, { points: points[i]!, steps, unit, logarithmic });
    }
  };
  const clear = () => {
    points = FIGURES.map(() => ({ 'tf.train.adam': [], vradam: [] }));
    draw();
  };
  clear();

  return {
    form,
    progress: byId('train-progress'),
    status: byId('train-status'),
    run: async (chosen, { isStopped, say, advance }) => {
      const backend = chosen.get('backend') as BackendName;
      const settings = {
        learningRate: Number(chosen.get('learningRate')),
        hidden: Number(chosen.get('hidden')),
        passes: Number(chosen.get('passes')),
      };
      say('Fetching the digits and starting the backend…');
      digits ??= await fetchDigits();
      await startBackend(backend);
      steps = stepsOf(digits, settings);
      clear();
      say(`Training on ${BACKENDS[backend].title}: ${steps} steps`);
      const recent: Record<ContenderName, StepFigures[]> = { 'tf.train.adam': [], vradam: [] };
      let step = 0;
      let nextDrawing = 0;
      for await (const figures of train(digits, settings, frameKeeper())) {
        step++;
        for (const name of CONTENDERS) {
          const window = recent[name];
          window.push(figures[name]);
          if (window.length > RECENT) window.shift();
          for (const [i, { of }] of FIGURES.entries()) {
            const value = of(window);
            if (value !== undefined) points[i]![name].push([step, value]);
          }
        }
        const now = performance.now();
        if (now > nextDrawing) {
          draw();
          advance(step / steps);
          const drawn = performance.now();
          nextDrawing = drawn + Math.max(REDRAW, DRAWING_SHARE * (drawn - now));
        }
        if (isStopped()) break;
      }
      draw();
      advance(step / steps);
      say(
        isStopped()
          ? `Stopped after ${step} of ${steps} steps`
          : `Trained ${steps} steps on ${BACKENDS[backend].title}`,
      );
    },
  };
}
