// SPDX-License-Identifier: Apache-2.0
// The table of costs by day, DAG, run and model.

import { h, icon, replaceChildren } from "./dom.js";
import { errorNotice, fetchCosts } from "./api.js";
import { money, span } from "./format.js";
import { campaignAddress, leavingFrame } from "./host.js";
import { t } from "./i18n.js";
import { keepUpToDate } from "./live.js";

const KEPT = ["dag_id", "run_id", "model", "ratio", "conn_id", "state", "q"];
const NAMES = 4; // the columns before those of numbers
const MONEY = ["paid_cny", "may_be_billed_cny", "expected_cny"];

/** Returns the query for the server: days of the address are days of UTC, as in the table. */
function queryOf(address) {
  const query = new URLSearchParams();
  for (const name of KEPT) for (const value of address.getAll(name)) query.append(name, value);
  for (const [name, days] of [["since", 0], ["until", 1]]) {
    const day = new Date(`${address.get(name) ?? ""}T00:00:00Z`);
    if (Number.isNaN(day.getTime())) continue;
    day.setUTCDate(day.getUTCDate() + days);
    query.set(name, day.toISOString());
  }
  return query;
}

function cells(row, heading) {
  return [
    h(heading, { class: "number" }, String(row.renders)),
    h(heading, { class: "number" }, String(row.saved)),
    h(heading, { class: "number" }, span(row.seconds)),
    ...MONEY.map((name) => h(heading, { class: "number" }, Number(row[name]) > 0 ? money(row[name]) : "–")),
    h(heading, { class: "number" }, row.unpriced ? String(row.unpriced) : "–"),
  ];
}

function figures(total) {
  const figure = (value, label, note = "") => h("div", { class: "figure" }, h("b", {}, value), h("span", {}, label), h("small", {}, note));
  return h("div", { class: "totals" },
    figure(money(total.paid_cny), t("total_cost"), total.unpriced ? t("total_unpriced", { count: total.unpriced }) : ""),
    Number(total.may_be_billed_cny) > 0 ? figure(money(total.may_be_billed_cny), t("may_be_billed")) : null,
    Number(total.expected_cny) > 0 ? figure(money(total.expected_cny), t("still_expected")) : null);
}

function table(data) {
  const heads = ["day", "filter_dag_id", "run", "model", "total_renders", "state_landed", "duration_seconds", "total_cost", "may_be_billed", "still_expected", "unknown_price"];
  return h("div", { class: "table", tabIndex: 0, aria: { role: "region", label: t("costs") } },
    h("table", {},
      h("thead", {}, h("tr", {}, heads.map((name, at) => h("th", { scope: "col", class: at < NAMES ? null : "number" }, t(name))))),
      h("tbody", {}, data.rows.map((row) =>
        h("tr", {}, h("td", {}, row.day), h("td", {}, row.dag_id), h("td", { class: "words" }, h("a", { href: campaignAddress(row) }, row.run_id)),
          h("td", {}, row.model), cells(row, "td")))),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row", colSpan: NAMES }, t("sum")), cells(data.total, "th")))));
}

export function costsPage(root) {
  const address = () => new URLSearchParams(location.search);
  const content = h("div", {});
  let request = null;
  let shown = ""; // the answer that the page shows
  const csv = h("div", { class: "row" });
  const day = (name, text) => h("label", { class: "day" }, h("span", {}, text), h("input", { type: "date", name, on: { change: () => change() } }));
  const form = h("form", { class: "filters", on: { submit: (event) => event.preventDefault() } }, day("since", t("from")), day("until", t("to")), csv);
  const change = () => {
    const query = address();
    for (const name of ["since", "until"]) {
      if (form.elements[name].value) query.set(name, form.elements[name].value);
      else query.delete(name);
    }
    history.pushState(null, "", `?${query}`);
    load();
  };
  const look = async () => {
    request?.abort();
    const mine = (request = new AbortController());
    try {
      show(await fetchCosts(queryOf(address()), mine.signal));
    } finally {
      if (request === mine) request = null;
    }
  };
  const show = (data) => {
    const text = JSON.stringify([location.search, data]);
    if (text === shown) return;
    shown = text;
    const named = address().get("since") || address().get("until") || address().get("run_id");
    replaceChildren(content,
      data.rows.length ? figures(data.total) : null,
      h("p", { class: "soft" }, [named ? null : t("costs_period"), t("costs_utc")].filter(Boolean).join(" ")),
      data.rows.length ? table(data) : h("div", { class: "notice" }, icon("film"), h("h2", {}, t("none_title")), h("p", {}, t("none_text"))));
  };
  const load = () => {
    for (const name of ["since", "until"]) form.elements[name].value = address().get(name) ?? "";
    replaceChildren(csv, leavingFrame(h("a", { class: "button", href: `api/costs.csv?${queryOf(address())}`, download: "" }, icon("download"), t("files_csv"))));
    return look().catch((error) => {
      if (error.name === "AbortError") return;
      shown = "";
      replaceChildren(content, errorNotice(error, load));
    });
  };
  const shownValue = (name, value) => (name === "state" ? t(`state_${value}`) : value);
  const about = KEPT.flatMap((name) => address().getAll(name).filter(Boolean).map((value) => shownValue(name, value))).join(" · ");
  root.append(h("div", { class: "heading" }, h("h1", {}, t("costs"), about ? h("small", {}, about) : null)), form, keepUpToDate(() => (request ? null : look())), content);
  addEventListener("popstate", load);
  load();
}
