// SPDX-License-Identifier: Apache-2.0
// Formats values for people.

import { timeZone } from "./host.js";
import { LOCALE, t } from "./i18n.js";

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
  return Number.isNaN(date.getTime()) ? NOTHING : new Intl.DateTimeFormat(LOCALE, { timeZone: timeZone(), ...options }).format(date);
}

/** Formats a time as date and time in the reader's zone, with the name of the zone. */
export function moment(iso) {
  return inWords(iso, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
}

export function day(iso) {
  return inWords(iso, { dateStyle: "medium" });
}

export function clock(iso) {
  return inWords(iso, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Returns the short name of the zone in which the page shows times, such as "GMT+8". */
export function zoneName() {
  const parts = new Intl.DateTimeFormat(LOCALE, { timeZone: timeZone(), timeZoneName: "short" }).formatToParts();
  return parts.find(({ type }) => type === "timeZoneName").value;
}

/** Returns when a day such as "2026-05-04" begins in the reader's zone, some days later if wanted; null if it is none. */
export function startOfDay(text, daysLater = 0) {
  const midnight = new Date(`${text}T00:00:00Z`);
  if (!text || Number.isNaN(midnight.getTime())) return null;
  midnight.setUTCDate(midnight.getUTCDate() + daysLater);
  const ahead = (at) => {
    const part = Object.fromEntries(
      new Intl.DateTimeFormat("en", { timeZone: timeZone(), hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" })
        .formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - at.getTime();
  };
  const guess = new Date(midnight.getTime() - ahead(midnight));
  return new Date(midnight.getTime() - ahead(guess)); // a clock change can lie between midnight in UTC and here
}

/** Formats decimal text as money, such as "¥1.40". It never becomes a float. */
export function money(text) {
  return `¥${text}`;
}

/** Says what a render cost, by the one rule of all pages: paid, possibly billed, not billed, expected, or paid elsewhere. */
export function moneyText({ money: kind, amount_cny: amount }) {
  if (!kind) return null;
  if (kind === "not_billed" || kind === "paid_elsewhere") return t(`money_${kind}`);
  return t(`money_${kind}`, { amount: amount === null || amount === undefined ? t("unknown_price") : money(amount) });
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

/** Returns the shape of a card's picture: "tall", "square" or "wide". */
export function shape(card) {
  const [width, height] = card.width && card.height ? [card.width, card.height] : (card.ratio ?? card.aspect_ratio ?? "16:9").split(":").map(Number);
  if (width < 0.8 * height) return "tall";
  return width < 1.25 * height ? "square" : "wide";
}
