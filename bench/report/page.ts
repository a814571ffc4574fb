import { headLines, type Results, withStop } from '../results.js';
import { speedupChart, timeChart } from './charts.js';
import { type Chart, COLORS, SCHEMES } from './drawing.js';
import { columnsOf, type FigureColumn, TABLE_NOTES, type WorkloadTable, workloadTable } from './figures.js';

function escapeHtml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

const STYLE = `
:root { color-scheme: light dark; --text: ${COLORS.light.text}; --faint: ${COLORS.light.faint}; --page: ${COLORS.light.background}; --ours: #eef6ff; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.head p, .notes { font-size: .875rem; margin: .25rem 0; }
figure { margin: 1rem 0; } figure svg { display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 1.5rem; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--faint); }
th.right, td.right { text-align: right; }
tbody th { font-weight: 400; } tr.ours th { font-weight: 600; } tr.ours { background: var(--ours); }
.dark { display: none; }
@media (prefers-color-scheme: dark) {
  :root { --text: ${COLORS.dark.text}; --faint: ${COLORS.dark.faint}; --page: ${COLORS.dark.background}; --ours: #14233a; }
  .light { display: none; } .dark { display: block; }
}
`;

function figure(chart: Chart): string {
  const drawings = SCHEMES.map((scheme) => `<div class="${scheme}">${chart.svg(scheme)}</div>`);
  return `<h2>${escapeHtml(chart.title)}</h2>\n<figure class="scroll">\n${drawings.join('\n')}\n</figure>`;
}

function cell(text: string, { align }: FigureColumn, column: number): string {
  const right = align === 'right' ? ' class="right"' : '';
  return column === 0
    ? `<th scope="row"${right}>${escapeHtml(text)}</th>`
    : `<td${right}>${escapeHtml(text)}</td>`;
}

function section({ title, rows, notes }: WorkloadTable, columns: readonly FigureColumn[]): string {
  const heads = columns.map(
    ({ heading, align }) =>
      `<th scope="col"${align === 'right' ? ' class="right"' : ''}>${escapeHtml(heading)}</th>`,
  );
  const lines = rows.map(
    ({ figures, cells }) =>
      `<tr${figures.contender.ours ? ' class="ours"' : ''}>${cells.map((text, i) => cell(text, columns[i]!, i)).join('')}</tr>`,
  );
  const table = `<div class="scroll"><table>
<caption>${escapeHtml(title)}</caption>
<thead><tr>${heads.join('')}</tr></thead>
<tbody>
${lines.join('\n')}
</tbody>
</table></div>`;
  return [table, ...paragraphs(notes)].join('\n');
}

const paragraphs = (lines: readonly string[]) =>
  lines.map((line) => `<p class="notes">${escapeHtml(line)}</p>`);

/** Results as one page that needs nothing beside itself: no script, no font, no request. For light and dark. */
export function page(results: Results): string {
  const charts = [timeChart(results), speedupChart(results)].filter((chart) => chart !== undefined);
  const absent = results.absent.map(({ key, reason }) => `Not here: ${key}: ${withStop(reason)}`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>vradam bench, ${escapeHtml(results.machine.date)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Time of an optimizer step</h1>
<div class="head">
<p>${escapeHtml(results.machine.date)}</p>
${headLines(results)
  .map((line) => `<p>${escapeHtml(line)}</p>`)
  .join('\n')}
</div>
${charts.map(figure).join('\n')}
<h2>All figures</h2>
${results.workloads.map((workload) => section(workloadTable(results, workload), columnsOf(results))).join('\n')}
<h2>Notes</h2>
${paragraphs([...TABLE_NOTES, ...absent]).join('\n')}
</main>
</body>
</html>
`;
}
