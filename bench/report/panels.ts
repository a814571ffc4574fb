import { CustomChart } from 'echarts/charts';
import { MarkLineComponent, TitleComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { axes, type Chart, COLORS, draw, legend, type Scheme, WIDTH } from './drawing.js';

echarts.use([CustomChart, MarkLineComponent, TitleComponent]);

/** A point of a line. */
export type Point = readonly [x: number, y: number];

/** A line of a panel, and the band that its values lie in. */
export interface Line {
  /** Lines of one name share a colour and an entry of the legend. */
  readonly name: string;
  readonly points: readonly Point[];
  /** Lowest and highest value at each of the points. */
  readonly band?: readonly Point[];
  /** Default: solid. */
  readonly style?: 'solid' | 'dashed' | 'dotted';
  /** Default: a hollow circle, where there are few points. */
  readonly symbol?: string;
}

/** An axis; without bounds it covers what is drawn. */
export interface Axis {
  readonly name: string;
  readonly type: 'value' | 'log';
  readonly min?: number;
  readonly max?: number;
}

/** One diagram of a picture. */
export interface Panel {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
  /** Heights at which a dotted line goes across. */
  readonly marks?: readonly number[];
}

/** A picture of panels, row by row. */
export interface Picture {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly columns: number;
  /** Pixels of a panel with its axes, and of the legend below all of them. Default: 250 and 40. */
  readonly panelHeight?: number;
  readonly legendHeight?: number;
  readonly panels: readonly Panel[];
  /** Colours of the lines by name; the order is that of the legend. */
  readonly colors: Readonly<Record<string, Readonly<Record<Scheme, string>>>>;
}

/** Pixels around the panels, and around the diagram in each. */
const TOP = 10;
const INSIDE = { left: 62, right: 14, top: 34, bottom: 48 };

/** 0.001 → '0.001', 0.00001 → '1e-5', 3000 → '3,000'. */
function tickText(value: number): string {
  if (value === 0) return '0';
  if (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) {
    return Number(value.toPrecision(2)).toExponential().replace('e+', 'e');
  }
  return Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: 4 });
}

/** Whole decades around what a logarithmic axis has to show; undefined where that is nothing. */
function decades({ min, max }: Axis, values: readonly number[]): { min: number; max: number } | undefined {
  const fitting = values.filter((value) => Number.isFinite(value) && value > 0);
  if (fitting.length === 0) return undefined;
  return {
    min: min ?? 10 ** Math.floor(Math.log10(Math.min(...fitting)) + 1e-9),
    max: max ?? 10 ** Math.ceil(Math.log10(Math.max(...fitting)) - 1e-9),
  };
}

/** What ECharts calls when it draws a series of one's own. */
interface RenderApi {
  coord(point: readonly number[]): number[];
}

/** Draws a picture for a light or a dark page. */
export function pictureChart(picture: Picture): Chart {
  const { id, title, description, columns, panels, colors: palette } = picture;
  const { panelHeight = 250, legendHeight = 40 } = picture;
  const rows = Math.ceil(panels.length / columns);
  const width = WIDTH / columns;
  const height = TOP + rows * panelHeight + legendHeight;
  const svg = (scheme: Scheme) => {
    const colors = COLORS[scheme];
    const names = Object.keys(palette).filter((name) =>
      panels.some(({ lines }) => lines.some((line) => line.name === name)),
    );
    const xAxis: object[] = [];
    const yAxis: object[] = [];
    const series: object[] = [];
    const titles: object[] = [];
    const grid = panels.map((panel, index) => {
      const left = (index % columns) * width;
      const top = TOP + Math.floor(index / columns) * panelHeight;
      const all = panel.lines.flatMap(({ points, band }) => [
        ...points.map(([, y]) => y),
        ...(band ?? []).flat(),
      ]);
      const common = (axis: Axis) => ({
        ...axes(colors),
        gridIndex: index,
        type: axis.type,
        name: axis.name,
        nameLocation: 'middle',
        axisLabel: { color: colors.text, fontSize: 10, formatter: tickText, hideOverlap: true },
        nameTextStyle: { color: colors.text, fontSize: 11 },
      });
      const xs = panel.lines.flatMap(({ points }) => points.map(([x]) => x));
      xAxis.push({
        ...common(panel.x),
        nameGap: 26,
        ...(panel.x.type === 'log' ? {} : { splitNumber: 4 }),
        min: panel.x.min ?? Math.min(...xs),
        max: panel.x.max ?? Math.max(...xs),
      });
      yAxis.push({
        ...common(panel.y),
        nameGap: 44,
        ...(panel.y.type === 'log'
          ? decades(panel.y, all)
          : { scale: true, min: panel.y.min, max: panel.y.max }),
      });
      titles.push({
        text: panel.title,
        left: left + width / 2,
        top: top + 6,
        textAlign: 'center',
        textStyle: { color: colors.text, fontSize: 12, fontWeight: 'bold' },
      });
      for (const [order, line] of panel.lines.entries()) {
        const color = palette[line.name]![scheme];
        const { band } = line;
        if (band !== undefined && band.length > 1) {
          series.push({
            type: 'custom',
            xAxisIndex: index,
            yAxisIndex: index,
            clip: true,
            silent: true,
            data: [[line.points[0]![0], line.points[0]![1]]],
            renderItem: (_: object, api: RenderApi) => ({
              type: 'polygon',
              shape: {
                points: [
                  ...band.map(([low], i) => api.coord([line.points[i]![0], low])),
                  ...band.map(([, high], i) => api.coord([line.points[i]![0], high])).reverse(),
                ],
              },
              style: { fill: color, opacity: 0.18 },
            }),
          });
        }
        series.push({
          type: 'line',
          name: line.name,
          xAxisIndex: index,
          yAxisIndex: index,
          clip: true,
          data: line.points.map((point) => [...point]),
          color,
          showSymbol: line.symbol !== undefined || line.points.length <= 12,
          ...(line.symbol === undefined ? {} : { symbol: line.symbol }),
          symbolSize: line.symbol === undefined ? 5 : 8,
          lineStyle: { width: 1.8, type: line.style ?? 'solid' },
          ...(order === 0 && panel.marks
            ? {
                markLine: {
                  silent: true,
                  symbol: 'none',
                  label: { show: false },
                  lineStyle: { color: colors.text, type: 'dotted', width: 1.2 },
                  data: panel.marks.map((y) => ({ yAxis: y })),
                },
              }
            : {}),
        });
      }
      return {
        left: left + INSIDE.left,
        top: top + INSIDE.top,
        width: width - INSIDE.left - INSIDE.right,
        height: panelHeight - INSIDE.top - INSIDE.bottom,
      };
    });
    return draw(id, { title, description }, height, scheme, {
      title: titles,
      legend: legend(colors, names),
      grid,
      xAxis,
      yAxis,
      series,
    });
  };
  return { title, description, svg };
}
