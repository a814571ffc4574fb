import type { Place, Reference } from '../contenders/contender.js';
import { milliseconds, type Results, samplesOf, type WorkloadResult } from '../results.js';
import type { Samples } from '../rounds.js';
import { ratioText, speedUpText } from '../statistics.js';
import { axes, type Chart, COLORS, type Colors, draw, legend } from './drawing.js';
import { figuresOf, millisecondsText, workloadTitle } from './figures.js';
import { type Line, type Point, pictureChart } from './panels.js';

interface ChartLine {
  readonly key: string;
  readonly name: string;
  readonly place: Place;
  /** Filled for vradam's, whose lines are solid. */
  readonly symbol: string;
}

const BACKEND_SYMBOLS = { cpu: 'Triangle', wasm: 'Rect', tensorflow: 'Diamond' } as const;
const BACKENDS = Object.keys(BACKEND_SYMBOLS) as (keyof typeof BACKEND_SYMBOLS)[];

/** The lines of the chart of times. */
const LINES: readonly ChartLine[] = [
  { key: 'native/vradam', name: 'VRAdam on Float32Arrays', place: 'arrays', symbol: 'circle' },
  { key: 'plain/vradam', name: 'plain JavaScript', place: 'arrays', symbol: 'emptyCircle' },
  { key: 'cuda/vradam', name: 'VRAdam on a GPU', place: 'cuda', symbol: 'diamond' },
  ...BACKENDS.flatMap((place): ChartLine[] =>
    ['vradam', 'tf.train.adam'].map((name) => {
      const [ours, symbol] = [name === 'vradam', BACKEND_SYMBOLS[place]];
      return {
        key: `${place}/${name}`,
        name: `${ours ? 'vradam()' : name} on tfjs ${place}`,
        place,
        symbol: ours ? symbol.toLowerCase() : `empty${symbol}`,
      };
    }),
  ),
];

/** Bytes of VRAdam's step, whose traffic is the limit that the chart of times draws. */
const LIMIT_BYTES = 36;

/** Time of a step against the number of parameters, both logarithmic; undefined with fewer than two sizes. */
export function timeChart(results: Results): Chart | undefined {
  const flats = results.workloads.filter(({ flat, samples }) => flat && samples.length > 0);
  if (flats.length < 2) return undefined;
  const points = (pick: (workload: WorkloadResult) => Samples | undefined) =>
    flats.flatMap((workload): Point[] => {
      const found = pick(workload);
      return found === undefined ? [] : [[workload.parameters, milliseconds(found)]];
    });
  const measured = LINES.map((line) => ({ ...line, points: points((flat) => samplesOf(flat, line.key)) }));
  const lines: (Line & { color: (colors: Colors) => string })[] = measured.map(
    ({ name, place, symbol, points }) => ({
      name,
      points,
      symbol,
      style: symbol.startsWith('empty') ? 'dashed' : 'solid',
      color: ({ places }) => places[place],
    }),
  );
  const limit = points(({ streams }) => streams.find(({ bytes }) => bytes === LIMIT_BYTES));
  const named = { name: 'memory limit of VRAdam', symbol: 'none', style: 'dotted' } as const;
  const drawn = [...lines, { ...named, points: limit, color: ({ text }: Colors) => text }];
  const shown = drawn.filter(({ points }) => points.length > 0);
  const last = flats.at(-1)!;
  const described = measured.flatMap(({ key, name }) => {
    const samples = samplesOf(last, key);
    return samples === undefined ? [] : [`${name} ${millisecondsText(milliseconds(samples))} ms`];
  });
  const both = ({ color }: (typeof drawn)[number]) => ({
    light: color(COLORS.light),
    dark: color(COLORS.dark),
  });
  return pictureChart({
    id: 'times',
    title: 'Time of an optimizer step against the number of parameters',
    description: `Both axes are logarithmic. At ${last.key} parameters: ${described.join(', ')}. The memory limit is the time in which a loop without arithmetic moves the bytes of a VRAdam step.`,
    columns: 1,
    panelHeight: 450,
    legendHeight: 100,
    colors: Object.fromEntries(shown.map((line) => [line.name, both(line)])),
    panels: [
      {
        title: '',
        x: { name: 'parameters', type: 'log' },
        y: { name: 'ms a step', type: 'log' },
        lines: shown,
      },
    ],
  });
}

/** 0.001 → '0.001', 1000 → '1,000'. */
function plainNumber(value: number): string {
  return value >= 1 ? value.toLocaleString('en-US') : String(Number(value.toPrecision(1)));
}

/** The bars of the chart of speed-ups: a contender, and which of its ratios is drawn. */
const BARS: readonly { key: string; place: Place; over: Reference; name: string }[] = [
  ...(['native', 'cuda'] as const).map((group) => ({
    key: `${group}/vradam`,
    place: group === 'cuda' ? ('cuda' as const) : ('arrays' as const),
    over: 'plain' as const,
    name: `VRAdam on ${group === 'cuda' ? 'a GPU' : 'Float32Arrays'}, over plain JavaScript`,
  })),
  ...BACKENDS.map((place) => ({
    key: `${place}/vradam`,
    place,
    over: 'tensorflow' as const,
    name: `vradam() on tfjs ${place}, over tf.train.adam there`,
  })),
];

const COMPACT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 });

/** What a category of the chart of speed-ups is called, on two lines. */
function shortTitle({ key, name, flat, parameters, tensors }: WorkloadResult): string {
  if (flat) return `${key}\nparameters`;
  return `${name.replace(/ tensors$/, '')}\n${COMPACT.format(parameters)} in ${tensors}`;
}

/** How many times faster vradam's step is, by backend and workload; undefined where there are none. */
export function speedupChart(results: Results): Chart | undefined {
  const bars = BARS.map((bar) => ({
    ...bar,
    values: results.workloads.map((workload) => {
      const figures = figuresOf(results, workload).find(({ contender }) => contender.key === bar.key);
      return figures?.faster[bar.over];
    }),
  })).filter(({ values }) => values.some((value) => value !== undefined));
  if (bars.length === 0) return undefined;
  const named = bars.map(({ name, values }) => {
    const texts = values.flatMap((value, i) =>
      value === undefined ? [] : [`${workloadTitle(results.workloads[i]!)} ${speedUpText(value)}`],
    );
    return `${name}: ${texts.join('; ')}`;
  });
  const names = {
    title: 'How many times faster the step is than what it replaces',
    description: `The axis is logarithmic. ${named.join('. ')}.`,
  };
  const lowest = Math.min(...bars.flatMap(({ values }) => values.map((value) => value?.ratio ?? 1)));
  return {
    ...names,
    svg: (scheme) => {
      const colors = COLORS[scheme];
      return draw('speedups', names, 480, scheme, {
        legend: legend(
          colors,
          bars.map(({ name }) => name),
        ),
        grid: { left: 60, right: 20, top: 40, bottom: 150 },
        xAxis: {
          ...axes(colors),
          type: 'category',
          data: results.workloads.map(shortTitle),
          axisLabel: { color: colors.text, interval: 0, fontSize: 10 },
          axisTick: { show: false },
        },
        yAxis: {
          ...axes(colors),
          type: 'log',
          name: 'times faster',
          min: 10 ** Math.floor(Math.log10(lowest)),
          axisLabel: { color: colors.text, formatter: plainNumber },
        },
        series: bars.map(({ name, place, values }) => ({
          type: 'bar',
          name,
          color: colors.places[place],
          data: values.map((value) => value?.ratio ?? '-'),
          barMaxWidth: 36,
          label: {
            show: true,
            position: 'top',
            color: colors.text,
            fontSize: 10,
            formatter: ({ dataIndex }: { dataIndex: number }) => {
              const { ratio, uncertain } = values[dataIndex]!;
              return `${ratioText(ratio)}${uncertain ? '?' : ''}`;
            },
          },
        })),
      });
    },
  };
}
