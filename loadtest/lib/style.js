// How the report looks, and the few lines that show values under the pointer. Without them the page says the same.

export const STYLE = `
:root { --wall: #faf7f1; --ink: #211d18; --soft: #6d645a; --rule: #e2dace; --faint: #f1ebe1; --good: #3d6b4f; --accent: #b23f28;
  --ochre: #cf9a3c; --blue: #3f6f93; --madder: #a34d6c; --green: #5d8c62; --violet: #7b6aa6; --grey: #8b8378; --pale: #ddd3c5;
  --strong: #1f4f57; --middle: #4b949b; --light: #a3cbcb; }
@media (prefers-color-scheme: dark) { :root { --wall: #161412; --ink: #ece5da; --soft: #a0968a; --rule: #37322c; --faint: #201d1a; --good: #8fc3a1; --accent: #ea7f62;
  --ochre: #d8a650; --blue: #6798bd; --madder: #c77894; --green: #7fae83; --violet: #9d8dc8; --grey: #8f877c; --pale: #433d36;
  --strong: #c9ecec; --middle: #63a9b0; --light: #386a70; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wall); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 56px 28px 72px; }
h1, h2, h3, .numbers dd:not(.small) { font-family: "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", Georgia, "DejaVu Serif", serif; font-weight: 500; }
h1 { font-size: 46px; line-height: 1.1; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 23px; margin: 0; }
h3 { font-size: 17px; font-style: italic; margin: 0; }
header { margin-bottom: 20px; }
.over { margin: 0 0 6px; color: var(--soft); font-size: 13px; letter-spacing: .04em; }
.sub { margin: 8px 0 0; color: var(--soft); }
.verdict { margin: 22px 0 0; font-size: 18px; max-width: 46em; }
.verdict::before { content: ""; display: inline-block; width: .62em; height: .62em; border-radius: 50%; margin-right: .6em; background: currentColor; }
.good { color: var(--good); } .bad { color: var(--accent); }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(108px, 1fr)); gap: 20px; margin: 26px 0 0; padding: 20px 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.numbers dt { color: var(--soft); font-size: 13px; }
.numbers dd { margin: 0; font-size: 27px; line-height: 1.25; white-space: nowrap; }
.numbers .small { font-size: 12.5px; color: var(--soft); line-height: 1.4; white-space: normal; }
section { margin: 44px 0 0; }
.note { color: var(--soft); margin: 2px 0 0; font-size: 14px; }
figure { margin: 10px 0 0; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 10px 0 4px; padding: 0; font-size: 13px; color: var(--soft); }
.legend b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; background: var(--c); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.area, .bar { fill: var(--c); } .area { stroke: var(--wall); stroke-width: .8; }
.line { fill: none; stroke: var(--c); stroke-width: 1.9; stroke-linejoin: round; stroke-linecap: round; } .dot { fill: var(--c); }
.objective { stroke: var(--accent); stroke-width: 1; stroke-dasharray: 5 4; } svg text.objective { stroke: none; fill: var(--accent); }
.event { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 3; } svg text.event { stroke: none; fill: var(--ink); text-anchor: middle; font-weight: 600; }
rect.stage { fill: var(--ink); fill-opacity: .045; } svg text.stage { font-style: italic; }
.cursor { stroke: var(--soft); stroke-width: 1; visibility: hidden; } .cursor.on { visibility: visible; }
.ochre { --c: var(--ochre); } .blue { --c: var(--blue); } .madder { --c: var(--madder); } .green { --c: var(--green); } .violet { --c: var(--violet); }
.grey { --c: var(--grey); } .pale { --c: var(--pale); } .accent { --c: var(--accent); } .strong { --c: var(--strong); } .middle { --c: var(--middle); } .light { --c: var(--light); }
.thirds { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 24px; margin-top: 14px; }
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
table.narrow { width: auto; min-width: 50%; }
th { text-align: left; font-weight: 400; color: var(--soft); font-size: 13px; border-bottom: 1px solid var(--soft); }
td { border-bottom: 1px solid var(--rule); }
th, td { padding: 5px 18px 5px 0; white-space: nowrap; vertical-align: baseline; }
td:not(:first-child), th:not(:first-child) { text-align: right; } td:last-child, th:last-child { padding-right: 0; }
table.narrow td:last-child { text-align: left; padding-left: 8px; }
.meter { display: inline-block; width: 160px; height: 9px; text-align: left; } .meter span { display: block; height: 9px; background: var(--blue); }
.events { columns: 280px 3; margin: 12px 0 0; padding-left: 2em; font-size: 14px; } .when { color: var(--soft); font-variant-numeric: tabular-nums; margin-right: .5em; }
pre { margin: 12px 0 0; padding: 14px 16px; background: var(--faint); font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-x: auto; }
footer { margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--rule); color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { main { padding: 32px 16px 48px; } h1 { font-size: 36px; } section > figure { overflow-x: auto; } section > figure svg { min-width: 640px; } .numbers dd { font-size: 24px; } }
`;

export const SCRIPT = `
// The moment under the pointer, in all plots at once.
const figures = [...document.querySelectorAll('figure')].map((figure) => ({ figure, svg: figure.querySelector('svg'), values: JSON.parse(figure.dataset.values), labels: figure.querySelectorAll('.legend b') }));
const show = (share) => {
  for (const { svg, values, labels } of figures) {
    const { left, right, width } = svg.dataset;
    const count = values[0].length;
    const place = share === null ? -1 : Math.min(count - 1, Math.floor(share * count));
    labels.forEach((label, line) => { label.textContent = place < 0 ? '' : values[line][place]; });
    const x = place < 0 ? -9 : Number(left) + ((place + 0.5) / count) * (width - left - right);
    const cursor = svg.querySelector('.cursor');
    cursor.classList.toggle('on', place >= 0);
    cursor.setAttribute('x1', x);
    cursor.setAttribute('x2', x);
  }
};
for (const { svg } of figures) {
  svg.addEventListener('pointermove', (event) => {
    const { left, right, width } = svg.dataset;
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const share = (x - left) / (width - left - right);
    show(share >= 0 && share <= 1 ? share : null);
  });
  svg.addEventListener('pointerleave', () => show(null));
}
`;
