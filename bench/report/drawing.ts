import { BarChart, LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import type { Place } from '../contenders/contender.js';

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

export interface Colors {
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

/** Width of every drawing, in pixels. */
export const WIDTH = 900;
const FONT = 'system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif';

function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

/** Draws an option of ECharts; the same option gives the same bytes. */
export function draw(
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

/** A legend below the drawing. */
export function legend(colors: Colors, names: readonly string[]) {
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

/** What all axes have in common. */
export function axes(colors: Colors) {
  return {
    axisLine: { lineStyle: { color: colors.text } },
    axisLabel: { color: colors.text },
    nameTextStyle: { color: colors.text },
    splitLine: { lineStyle: { color: colors.faint } },
    minorSplitLine: { show: false },
  };
}
