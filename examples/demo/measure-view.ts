import * as tf from '@tensorflow/tfjs-core';
import { type Measurement, measure, type OptimizerName, type Size } from '../../bench/browser/measurement.js';
import { ratioText } from '../../bench/statistics.js';
import { BACKENDS, type BackendName, startBackend } from './backends.js';
import { Chart, showBars } from './charts.js';
import { byId, millisecondsText, nextFrame, type Task } from './task.js';

const SIZES: readonly Size[] = [
  { variables: 50, parameters: 5e3 },
  { variables: 50, parameters: 1e5 },
  { variables: 50, parameters: 1e6 },
  { variables: 1, parameters: 1e6 },
];
/** Seconds of an optimizer's turn in a round. */
const TURN = 0.1;

/** A backend's measurements; what the JSON holds of it. */
interface BackendResult {
  readonly backend: BackendName;
  /** What it computes on, where that can be told. */
  device?: string;
  readonly measurements: Measurement[];
  /** Why there are none or not all. */
  failure?: string;
}

const countText = (count: number) => count.toLocaleString('en-US');
const sizeText = ({ variables, parameters }: Size) =>
  `${countText(parameters)} in ${variables === 1 ? 'one' : variables}`;
const timesText = (ratio: number) => `${ratioText(ratio)}×`;

function element(name: string, words = '', attributes: Readonly<Record<string, string>> = {}): HTMLElement {
  const made = document.createElement(name);
  made.textContent = words;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

/** The cell of an optimizer's time, with how many times faster it is below. */
function timeCell({ steps }: Measurement, name: OptimizerName): HTMLElement {
  const { milliseconds, faster } = steps[name];
  const cell = element('td', millisecondsText(milliseconds));
  if (name !== 'tf.train.adam') {
    cell.append(' ', element('small', `${timesText(faster.ratio)}${faster.uncertain ? '?' : ''}`));
  }
  return cell;
}

/** A backend's part of the table. */
function tableBody({ backend, measurements, failure }: BackendResult): HTMLElement {
  const body = element('tbody');
  const title = BACKENDS[backend].title;
  const head = element('tr');
  head.append(
    element('th', failure === undefined ? title : `${title}: ${failure}`, {
      colspan: '4',
      scope: 'rowgroup',
    }),
  );
  body.append(head);
  for (const measurement of measurements) {
    const row = element('tr');
    const names: OptimizerName[] = ['tf.train.adam', 'adam', 'vradam'];
    row.append(
      element('th', sizeText(measurement), { scope: 'row' }),
      ...names.map((name) => timeCell(measurement, name)),
    );
    body.append(row);
  }
  return body;
}

/** Measures what the form says, and shows it as charts and a table; the button beside it saves the figures. */
export function measureTask(): Task {
  const form = byId<HTMLFormElement>('measure');
  const save = byId<HTMLButtonElement>('save');
  const table = byId('times');
  const charts = new Map<BackendName, Chart>();
  let results: BackendResult[] = [];

  const show = () => {
    byId('measured').hidden = false;
    for (const body of table.querySelectorAll('tbody')) body.remove();
    table.append(...results.map(tableBody));
    const ratios = results.flatMap(({ measurements }) =>
      measurements.flatMap(({ steps }) => [steps.adam.faster.ratio, steps.vradam.faster.ratio]),
    );
    const range = [10 ** Math.floor(Math.log10(Math.min(1, ...ratios))), Math.max(10, ...ratios)] as const;
    for (const { backend, measurements } of results) {
      if (measurements.length === 0) continue;
      let chart = charts.get(backend);
      if (chart === undefined) {
        chart = new Chart(
          byId('measure-charts'),
          `${BACKENDS[backend].title}: times faster than tf.train.adam`,
        );
        charts.set(backend, chart);
      }
      showBars(chart, {
        categories: measurements.map(sizeText),
        ratios: {
          'adam()': measurements.map(({ steps }) => steps.adam.faster.ratio),
          'vradam()': measurements.map(({ steps }) => steps.vradam.faster.ratio),
        },
        range,
        text: timesText,
      });
    }
  };

  save.addEventListener('click', () => {
    const file = {
      date: new Date().toISOString(),
      userAgent: navigator.userAgent,
      processors: navigator.hardwareConcurrency,
      tfjs: tf.version_core,
      results,
    };
    const url = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: 'application/json' }));
    const link = element('a', '', { href: url, download: 'vradam-browser.json' });
    link.click();
    URL.revokeObjectURL(url);
  });

  return {
    form,
    progress: byId('measure-progress'),
    status: byId('measure-status'),
    run: async (chosen, { isStopped, say, advance }) => {
      const backends = chosen.getAll('backend') as BackendName[];
      if (backends.length === 0) throw new Error('Choose a backend to measure.');
      const rounds = Number(chosen.get('rounds'));
      const largest = Number(chosen.get('largest'));
      const sizes = SIZES.filter(({ parameters }) => parameters <= largest);
      const turns = backends.length * sizes.length * rounds * 3;
      let turn = 0;
      results = [];
      for (const chart of charts.values()) chart.dispose();
      charts.clear();
      for (const backend of backends) {
        if (isStopped()) break;
        const result: BackendResult = { backend, measurements: [] };
        results.push(result);
        try {
          const device = await startBackend(backend);
          if (device) result.device = device;
          for (const size of sizes) {
            if (isStopped()) break;
            say(`Measuring ${BACKENDS[backend].title}: ${sizeText(size)} variables`);
            const measurement = await measure(size, {
              rounds,
              turn: TURN,
              isOver: isStopped,
              onTurn: () => advance(++turn / turns),
              pause: nextFrame,
            });
            if (measurement) result.measurements.push(measurement);
            show();
          }
        } catch (error) {
          result.failure = error instanceof Error ? error.message : String(error);
          show();
        }
      }
      save.disabled = results.every(({ measurements }) => measurements.length === 0);
      if (!isStopped()) advance(1); // the turns of a backend that is not to be had too
      say(isStopped() ? 'Stopped' : 'Measured');
    },
  };
}
