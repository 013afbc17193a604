// SPDX-License-Identifier: Apache-2.0
// Formats values for people.

import { LOCALE } from "./i18n.js";

const NOTHING = "–";
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function inUnit(count, unit) {
  return new Intl.NumberFormat(LOCALE, { style: "unit", unit, unitDisplay: "narrow", maximumFractionDigits: 1 }).format(count);
}

/** Formats seconds as "12 s", "3 min 20 s" or "2 h 5 min": in the largest unit and the next smaller one. */
export function span(seconds) {
  const whole = seconds < 10 && !Number.isInteger(seconds) ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  const at = UNITS.findIndex(([, size]) => whole >= size);
  if (at < 0 || at === UNITS.length - 1) return inUnit(whole, "second");
  const [unit, size] = UNITS[at];
  const [below, belowSize] = UNITS[at + 1];
  const rest = Math.floor((whole % size) / belowSize);
  return inUnit(Math.floor(whole / size), unit) + (rest ? ` ${inUnit(rest, below)}` : "");
}

/** Formats how long ago a time was, in one unit, such as "3 hours ago"; a dash if it is not a time. */
export function age(iso, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (Number.isNaN(seconds)) return NOTHING;
  const [unit, size] = UNITS.find(([, unitSize]) => seconds >= unitSize) ?? UNITS.at(-1);
  return new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto", style: "short" }).format(-Math.floor(seconds / size), unit);
}

function inWords(iso, options) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? NOTHING : new Intl.DateTimeFormat(LOCALE, options).format(date);
}

export function moment(iso) {
  return inWords(iso, { dateStyle: "medium", timeStyle: "medium" });
}

export function clock(iso) {
  return inWords(iso, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Formats a decimal text as money, such as "¥1.40". It never becomes a float. */
export function money(text) {
  return `¥${text}`;
}

export function bytes(count) {
  const size = count >= 1e6 ? [count / 1e6, "megabyte"] : [count / 1e3, "kilobyte"];
  return inUnit(Number(size[0].toFixed(1)), size[1]);
}

export function number(value) {
  return new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 3 }).format(value);
}

export function resolution(card) {
  return card.width && card.height ? `${card.width}×${card.height}` : null;
}

export function cost(card) {
  return card.cost_cny ?? card.estimated_cost_cny;
}
