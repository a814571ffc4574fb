import { BarChart, LineChart } from 'echarts/charts';
import { GridComponent, MarkLineComponent, TooltipComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';

echarts.use([BarChart, LineChart, GridComponent, MarkLineComponent, TooltipComponent, CanvasRenderer]);

/** The colours of the page as it is now, by the names they have in style.css. */
function colors() {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: color('text'),
    quiet: color('quiet'),
    line: color('line'),
    card: color('card'),
    us: color('us'),
    usToo: color('us-too'),
    them: color('them'),
  };
}
type Colors = ReturnType<typeof colors>;

const dark = matchMedia('(prefers-color-scheme: dark)');

/** A chart with a caption, which follows the width of the page and its light or dark scheme. */
export class Chart {
  readonly #chart: echarts.ECharts;
  readonly #figure = document.createElement('figure');
  readonly #drawing = document.createElement('div');
  readonly #resizing: ResizeObserver;
  readonly #title: string;
  #option: (colors: Colors) => object = () => ({});

  constructor(parent: HTMLElement, title: string) {
    this.#title = title;
    const caption = document.createElement('figcaption');
    caption.textContent = title;
    this.#drawing.className = 'drawing';
    this.#drawing.setAttribute('role', 'img');
    this.#figure.append(caption, this.#drawing);
    parent.append(this.#figure);
    this.#chart = echarts.init(this.#drawing);
    this.#resizing = new ResizeObserver(() => this.#chart.resize());
    this.#resizing.observe(this.#drawing);
    dark.addEventListener('change', this.#draw);
  }

  /**
   * Draws anew.
   *
   * @param description what is to be seen, for those who do not see it.
   */
  show(description: string, option: (colors: Colors) => object): void {
    this.#drawing.setAttribute('aria-label', `${this.#title}. ${description}`);
    this.#option = option;
    this.#draw();
  }

  /** Takes it off the page. */
  dispose(): void {
    this.#resizing.disconnect();
    dark.removeEventListener('change', this.#draw);
    this.#chart.dispose();
    this.#figure.remove();
  }

  readonly #draw = (): void => {
    const now = colors();
    const option = { animation: false, textStyle: { fontFamily: 'inherit' }, ...this.#option(now) };
    this.#chart.setOption(option, { notMerge: true });
  };
}

/** What axes of a chart have in common. */
const axis = ({ quiet, line }: Colors) => ({
  axisLine: { lineStyle: { color: line } },
  axisTick: { show: false },
  axisLabel: { color: quiet, hideOverlap: true },
  splitLine: { lineStyle: { color: line, opacity: 0.6 } },
});

const tooltip = ({ text, line, card }: Colors, valueFormatter: (value: number) => string) => ({
  valueFormatter,
  backgroundColor: card,
  borderColor: line,
  textStyle: { color: text },
});

/** Something that changes from step to step, drawn as one line for theirs and one for ours. */
export interface Lines {
  readonly points: Readonly<Record<string, readonly (readonly [step: number, value: number])[]>>;
  /** The steps that the whole axis is for. */
  readonly steps: number;
  readonly unit: string;
  readonly logarithmic: boolean;
}

/** 1, 2 and 5 times powers of ten, from the least to the most of some values: a logarithmic axis alone has the powers. */
function roundValues(values: readonly number[]): number[] {
  const positive = values.filter((value) => value > 0);
  if (positive.length === 0) return [];
  const [least, most] = [Math.min(...positive), Math.max(...positive)];
  const first = Math.floor(Math.log10(least));
  return Array.from({ length: Math.ceil(Math.log10(most)) - first + 1 }, (_, power) => 10 ** (first + power))
    .flatMap((power) => [power, 2 * power, 5 * power])
    .filter((value) => value >= least && value <= most);
}

/** Draws lines over the steps; the last one is ours. */
export function showLines(chart: Chart, { points, steps, unit, logarithmic }: Lines): void {
  const text = (value: number) => `${Number(value.toPrecision(3))}${unit}`;
  const series = Object.entries(points);
  const ticks = logarithmic
    ? { customValues: roundValues(series.flatMap(([, line]) => line.map(([, y]) => y))) }
    : {};
  const ends = series.flatMap(([name, line]) =>
    line.length > 0 ? [`${name} ${text(line.at(-1)![1])}`] : [],
  );
  chart.show(ends.length > 0 ? `At the end ${ends.join(', ')}` : 'Nothing yet', (colors) => ({
    grid: { left: 8, right: 12, top: 12, bottom: 4, containLabel: true },
    tooltip: { trigger: 'axis', ...tooltip(colors, text) },
    xAxis: { ...axis(colors), type: 'value', min: 0, max: steps, splitLine: { show: false } },
    yAxis: {
      ...axis(colors),
      splitNumber: 4,
      axisLabel: { color: colors.quiet, formatter: text, ...ticks },
      axisTick: { show: false, ...ticks },
      ...(logarithmic ? { type: 'log', min: 'dataMin', max: 'dataMax' } : { type: 'value', scale: true }),
      axisLine: { show: false },
    },
    series: series.map(([name, data], index) => ({
      type: 'line',
      name,
      data: [...data],
      showSymbol: false,
      lineStyle: { width: 2 },
      color: index === series.length - 1 ? colors.us : colors.them,
    })),
  }));
}

/** How many times faster each of ours is, by what it was measured at. */
export interface Bars {
  readonly categories: readonly string[];
  readonly ratios: Readonly<Record<string, readonly number[]>>;
  /** Ends of the axis, the same for charts that stand side by side. */
  readonly range: readonly [least: number, most: number];
  readonly text: (ratio: number) => string;
}

/** Draws bars from 1, where theirs stands, to the right where ours is faster; the last one of a category is the accent. */
export function showBars(chart: Chart, { categories, ratios, range: [min, max], text }: Bars): void {
  const series = Object.entries(ratios);
  const described = categories.map(
    (category, i) =>
      `${category}: ${series.map(([name, values]) => `${name} ${text(values[i]!)}`).join(', ')}`,
  );
  chart.show(described.join('; '), (colors) => ({
    grid: { left: 8, right: 52, top: 8, bottom: 4, containLabel: true },
    xAxis: {
      ...axis(colors),
      type: 'log',
      min,
      max,
      startValue: 1,
      axisLabel: { color: colors.quiet, formatter: text },
    },
    yAxis: { ...axis(colors), type: 'category', inverse: true, data: [...categories] },
    series: series.map(([name, data], index) => ({
      type: 'bar',
      name,
      // The words stand at the end of a bar, on the other side of 1 where ours is slower.
      data: data.map((value) => ({ value, label: { position: value < 1 ? 'left' : 'right' } })),
      barMaxWidth: 12,
      color: index === series.length - 1 ? colors.us : colors.usToo,
      label: {
        show: true,
        color: colors.text,
        formatter: ({ value }: { value: number }) => text(value),
      },
      ...(index === 0
        ? {
            markLine: {
              silent: true,
              symbol: 'none',
              label: { show: false },
              lineStyle: { color: colors.them, type: 'solid', width: 2 },
              data: [{ xAxis: 1 }],
            },
          }
        : {}),
    })),
  }));
}
