// SPDX-License-Identifier: Apache-2.0
// The language of the page, and its texts. The server explains failures in both languages.

import { EN } from "./en.js";
import { language } from "./host.js";
import { ZH } from "./zh.js";

const LANGUAGE = language();
const MESSAGES = LANGUAGE === "zh" ? ZH : EN;

export const LOCALE = LANGUAGE === "zh" ? "zh-CN" : "en-GB";
export const OTHER_LANGUAGE = LANGUAGE === "zh" ? "en" : "zh";

/** Returns a text in the page's language, with its `{names}` replaced by values. */
export function t(key, values = {}) {
  return (MESSAGES[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

export function has(key) {
  return key in MESSAGES;
}

/** What a failure means and what to do about it, in the reader's language. */
export function explain({ failure }) {
  return LANGUAGE === "zh"
    ? { meaning: failure.meaning_zh, advice: failure.advice_zh }
    : { meaning: failure.meaning, advice: failure.advice };
}
