"""The report page's look: readable on a phone, in the dark and on paper."""

from __future__ import annotations

STYLE = """
:root {
  --ground: #f6f7f9; --card: #ffffff; --ink: #1b1f27; --soft: #5c6675; --line: #dde1e8; --accent: #2456c7;
  --good: #17703f; --warn: #8a5a00; --bad: #b3261e; --still: #e8ebf0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c; --card: #1d2129; --ink: #e8ebf0; --soft: #9aa4b2; --line: #313846; --accent: #8db1ff;
    --good: #6fd39a; --warn: #f0c069; --bad: #ff8f87; --still: #0d0f13;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC",
    sans-serif;
}
main { max-width: 1200px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; }
header p { margin: 6px 0 0; color: var(--soft); overflow-wrap: anywhere; }
code { font: 0.88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
a { color: var(--accent); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 24px 0 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.figure dt { color: var(--soft); font-size: 13px; }
.figure dd { margin: 2px 0 0; font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; }
.figure small { font-size: 13px; font-weight: 400; color: var(--soft); white-space: nowrap; }
.good dd { color: var(--good); } .warn dd { color: var(--warn); } .bad dd { color: var(--bad); }
.group { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--bad);
  border-radius: 10px; padding: 14px 18px; margin: 0 0 12px; }
.group h3 { font-size: 16px; margin: 0; }
.count { color: var(--bad); font-variant-numeric: tabular-nums; margin-right: 4px; }
.reason { font-weight: 400; font-size: 12px; color: var(--soft); border: 1px solid var(--line); border-radius: 99px;
  padding: 1px 8px; margin-left: 6px; white-space: nowrap; }
.advice { margin: 4px 0 10px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 6px 12px 6px 0; border-top: 1px solid var(--line); }
.group th { white-space: nowrap; font-weight: 400; width: 1%; padding-right: 20px; }
.group td { overflow-wrap: anywhere; }
.said { color: var(--soft); width: 38%; }
.more { margin: 6px 0 0; color: var(--soft); font-size: 13px; }
.numbers { width: auto; min-width: 420px; }
.numbers thead th { border-top: 0; color: var(--soft); font-weight: 400; font-size: 13px; }
.numbers td, .numbers th + th { text-align: right; font-variant-numeric: tabular-nums; padding-left: 24px; }
.numbers tbody th { font-weight: 600; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  break-inside: avoid; }
.still { aspect-ratio: 16 / 9; background: var(--still); display: flex; align-items: center; justify-content: center; }
.still img, .still video { width: 100%; height: 100%; object-fit: contain; display: block; }
.nothing { color: var(--soft); font-size: 13px; }
figcaption { padding: 10px 12px 12px; font-size: 13px; }
figcaption p { margin: 0; }
.prompt { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
  overflow-wrap: anywhere; }
figcaption .facts { color: var(--soft); margin-top: 6px; display: flex; flex-wrap: wrap; column-gap: 10px;
  align-items: baseline; }
figcaption .file { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; margin-top: 4px; }
@media (max-width: 560px) {
  main { padding: 20px 14px 40px; }
  .group tr { display: block; border-top: 1px solid var(--line); padding: 6px 0; }
  .group th, .group td { display: block; width: auto; border: 0; padding: 0; }
  .numbers { min-width: 0; width: 100%; }
}
@media print {
  :root { --ground: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --still: #eee;
    --accent: #00f; --good: #17703f; --warn: #8a5a00; --bad: #b3261e; }
  main { max-width: none; padding: 0; }
  .sheet { grid-template-columns: repeat(3, 1fr); gap: 10px; }
  .figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .still { print-color-adjust: exact; }
}
"""
"""No rule may load anything: the page's policy would refuse it."""
