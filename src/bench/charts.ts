import { BarChart, LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { ratioText } from './claim.js';
import type { Place } from './contender.js';
import { figuresOf, millisecondsText, PLACE_NAMES, workloadTitle } from './figures.js';
import { milliseconds, type Results, samplesOf, type WorkloadResult } from './results.js';
import { sizeText } from './workloads.js';

echarts.use([BarChart, LineChart, GridComponent, LegendComponent, SVGRenderer]);

// Without a browser, ECharts guesses widths for a narrow font; these leave room for a wide one.
echarts.setPlatformAPI({
  measureText: (text, font = '') => {
    const size = Number.parseFloat(/[\d.]+px/.exec(font)?.[0] ?? '12');
    // The height of a line is the width of '国'.
    const units = Array.from(text, (letter) => (letter < '\u3000' ? 0.58 : 1));
    return { width: size * units.reduce((sum, width) => sum + width, 0) };
  },
});

export const SCHEMES = ['light', 'dark'] as const;
/** Whether a chart is to be seen on a light or a dark page. */
export type Scheme = (typeof SCHEMES)[number];

interface Colors {
  readonly text: string;
  readonly faint: string;
  readonly background: string;
  readonly places: Readonly<Record<Place, string>>;
}

/** Colours that people who see fewer colours can tell apart, after Okabe and Ito; the background is that of the page. */
export const COLORS: Readonly<Record<Scheme, Colors>> = {
  light: {
    text: '#1f2328',
    faint: '#d0d7de',
    background: '#ffffff',
    places: { arrays: '#0067a8', cuda: '#6d5a00', cpu: '#a8327d', wasm: '#00795a', tensorflow: '#c04a00' },
  },
  dark: {
    text: '#e6edf3',
    faint: '#3d444d',
    background: '#0d1117',
    places: { arrays: '#56b4e9', cuda: '#f0e442', cpu: '#e58fc4', wasm: '#3ccf9f', tensorflow: '#ff9a52' },
  },
};

/** A drawing: an SVG document with a title and a description for those who do not see it. */
export interface Chart {
  readonly title: string;
  readonly description: string;
  svg(scheme: Scheme): string;
}

const WIDTH = 900;
const FONT = 'system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif';

function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

/** Draws an option of ECharts; the same option gives the same bytes. */
function draw(
  id: string,
  { title, description }: Omit<Chart, 'svg'>,
  height: number,
  scheme: Scheme,
  option: object,
) {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  const { text, background } = COLORS[scheme];
  chart.setOption({
    animation: false,
    backgroundColor: background,
    textStyle: { color: text, fontFamily: FONT },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  const name = `${id}-${scheme}`;
  return (
    svg
      // Classes say how the pointer changes things that can be clicked, which a picture has not. Their numbers, and
      // those in other names, count all charts of the process.
      .replace(/<style[\s\S]*?<\/style>\n?/, '')
      .replace(/ class="[^"]*"/g, '')
      // Hollow symbols are filled with white, whatever lies behind them.
      .replaceAll('fill="#fff"', `fill="${background}"`)
      .replace(/\bzr\d+-/g, `${name}-`)
      .replace(
        /^<svg /,
        `<svg role="img" aria-labelledby="${name}-title ${name}-description" style="max-width:100%;height:auto" `,
      )
      .replace(
        />/,
        `>\n<title id="${name}-title">${escapeXml(title)}</title>\n<desc id="${name}-description">${escapeXml(description)}</desc>`,
      )
  );
}

/** The lines of the chart of times: a contender, and whether it is vradam's, which is drawn solid. */
const LINES: readonly { key: string; name: string; place: Place; solid: boolean; symbol: string }[] = [
  { key: 'native/vradam', name: 'VRAdam on Float32Arrays', place: 'arrays', solid: true, symbol: 'circle' },
  { key: 'plain/vradam', name: 'plain JavaScript', place: 'arrays', solid: false, symbol: 'emptyCircle' },
  { key: 'cuda/vradam', name: 'VRAdam on a GPU', place: 'cuda', solid: true, symbol: 'diamond' },
  { key: 'cpu/vradam', name: 'vradam() on tfjs cpu', place: 'cpu', solid: true, symbol: 'triangle' },
  {
    key: 'cpu/tf.train.adam',
    name: 'tf.train.adam on tfjs cpu',
    place: 'cpu',
    solid: false,
    symbol: 'emptyTriangle',
  },
  { key: 'wasm/vradam', name: 'vradam() on tfjs wasm', place: 'wasm', solid: true, symbol: 'rect' },
  {
    key: 'wasm/tf.train.adam',
    name: 'tf.train.adam on tfjs wasm',
    place: 'wasm',
    solid: false,
    symbol: 'emptyRect',
  },
  {
    key: 'tensorflow/vradam',
    name: 'vradam() on tfjs tensorflow',
    place: 'tensorflow',
    solid: true,
    symbol: 'diamond',
  },
  {
    key: 'tensorflow/tf.train.adam',
    name: 'tf.train.adam on tfjs tensorflow',
    place: 'tensorflow',
    solid: false,
    symbol: 'emptyDiamond',
  },
];

/** Bytes of VRAdam's step, whose traffic is the limit that the chart of times draws. */
const LIMIT_BYTES = 36;

function legend(colors: Colors, names: readonly string[]) {
  return {
    data: [...names],
    bottom: 0,
    left: 'center',
    width: WIDTH - 40,
    itemWidth: 34,
    itemGap: 14,
    textStyle: { color: colors.text },
  };
}

function axes(colors: Colors) {
  return {
    axisLine: { lineStyle: { color: colors.text } },
    axisLabel: { color: colors.text },
    nameTextStyle: { color: colors.text },
    splitLine: { lineStyle: { color: colors.faint } },
    minorSplitLine: { show: false },
  };
}

/** Time of a step against the number of parameters, both logarithmic; undefined with fewer than two sizes. */
export function timeChart(results: Results): Chart | undefined {
  const flats = results.workloads.filter(({ flat, samples }) => flat && samples.length > 0);
  if (flats.length < 2) return undefined;
  const points = (pick: (workload: WorkloadResult) => number | undefined) =>
    flats.flatMap((workload) => {
      const value = pick(workload);
      return value === undefined ? [] : [[workload.parameters, value]];
    });
  const lines = LINES.map((line) => ({
    ...line,
    data: points((workload) => {
      const samples = samplesOf(workload, line.key);
      return samples === undefined ? undefined : milliseconds(samples);
    }),
  })).filter(({ data }) => data.length > 0);
  const limit = points(({ streams }) => {
    const stream = streams.find(({ bytes }) => bytes === LIMIT_BYTES);
    return stream === undefined ? undefined : milliseconds(stream);
  });
  const limitName = 'memory limit of VRAdam';
  const last = flats.at(-1)!;
  const described = lines.flatMap(({ key, name }) => {
    const samples = samplesOf(last, key);
    return samples === undefined ? [] : [`${name} ${millisecondsText(milliseconds(samples))} ms`];
  });
  const names = {
    title: 'Time of an optimizer step against the number of parameters',
    description: `Both axes are logarithmic. At ${last.key} parameters: ${described.join(', ')}. The memory limit is the time in which a loop without arithmetic moves the bytes of a VRAdam step.`,
  };
  return {
    ...names,
    svg: (scheme) => {
      const colors = COLORS[scheme];
      return draw('times', names, 560, scheme, {
        legend: legend(colors, [...lines.map(({ name }) => name), ...(limit.length > 0 ? [limitName] : [])]),
        grid: { left: 70, right: 30, top: 40, bottom: 140 },
        xAxis: {
          ...axes(colors),
          type: 'log',
          name: 'parameters',
          nameLocation: 'middle',
          nameGap: 30,
          min: flats[0]!.parameters,
          max: last.parameters,
          axisLabel: { color: colors.text, formatter: sizeText },
        },
        yAxis: {
          ...axes(colors),
          type: 'log',
          name: 'ms a step',
          axisLabel: { color: colors.text, formatter: plainNumber },
        },
        series: [
          ...lines.map(({ name, place, solid, symbol, data }) => ({
            type: 'line',
            name,
            data,
            symbol,
            symbolSize: 8,
            color: colors.places[place],
            lineStyle: { width: solid ? 3 : 1.5, type: solid ? 'solid' : 'dashed' },
          })),
          {
            type: 'line',
            name: limitName,
            data: limit,
            symbol: 'circle',
            symbolSize: 3,
            color: colors.text,
            lineStyle: { width: 1.5, type: 'dotted' },
          },
        ],
      });
    },
  };
}

/** 0.001 → '0.001', 1000 → '1,000'. */
function plainNumber(value: number): string {
  return value >= 1 ? value.toLocaleString('en-US') : String(Number(value.toPrecision(1)));
}

/** The bars of the chart of speed-ups: a contender, and which of its ratios is drawn. */
const BARS: readonly { key: string; place: Place; over: 'plain' | 'tensorflow'; name: string }[] = [
  {
    key: 'native/vradam',
    place: 'arrays',
    over: 'plain',
    name: 'VRAdam on Float32Arrays, over plain JavaScript',
  },
  { key: 'cuda/vradam', place: 'cuda', over: 'plain', name: 'VRAdam on a GPU, over plain JavaScript' },
  ...(['cpu', 'wasm', 'tensorflow'] as const).map((place) => ({
    key: `${place}/vradam`,
    place,
    over: 'tensorflow' as const,
    name: `vradam() on tfjs ${PLACE_NAMES[place]}, over tf.train.adam there`,
  })),
];

const COMPACT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 });

/** What a category of the chart of speed-ups is called, on two lines. */
function shortTitle({ key, name, flat, parameters, tensors }: WorkloadResult): string {
  if (flat) return `${key}\nparameters`;
  return `${name.replace(/ tensors$/, '')}\n${COMPACT.format(parameters)} in ${tensors}`;
}

/** How many times faster vradam's step is, by backend and workload; undefined where no ratio can be printed. */
export function speedupChart(results: Results): Chart | undefined {
  const bars = BARS.map((bar) => ({
    ...bar,
    values: results.workloads.map((workload) => {
      const figures = figuresOf(results, workload).find(({ contender }) => contender.key === bar.key);
      const found = figures?.[bar.over];
      return found === undefined || found.doubt !== undefined ? undefined : found;
    }),
  })).filter(({ values }) => values.some((value) => value !== undefined));
  if (bars.length === 0) return undefined;
  const named = bars.map(({ name, values }) => {
    const texts = values.flatMap((value, i) =>
      value === undefined ? [] : [`${workloadTitle(results.workloads[i]!)} ${ratioText(value)} times`],
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
            formatter: ({ dataIndex }: { dataIndex: number }) => ratioText(values[dataIndex]!),
          },
        })),
      });
    },
  };
}
