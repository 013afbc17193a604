// SPDX-License-Identifier: Apache-2.0
// The questions that DAGs ask about a render. The page sends an answer to Airflow's own API, as the person who is signed in.

import { h, icon } from "./dom.js";
import { fetchQuestions } from "./api.js";
import { taskName } from "./card.js";
import { keyOf } from "./selection.js";
import { moment } from "./format.js";
import { airflowAddress, leavingFrame, taskAddress } from "./host.js";
import { t } from "./i18n.js";

const LOOK_AGAIN_MS = 5000;
const REFUSALS = { 0: "answer_unknown", 401: "error_401", 403: "answer_403", 404: "answer_404", 409: "answer_409" };

/** Returns an element that shows the questions about a render and keeps itself up to date. It is hidden if there are none. */
export function reviewPanel(card) {
  const panel = h("section", { class: "box review", hidden: true, aria: { label: t("review") } });
  const shown = new Map();
  const look = async () => {
    let questions;
    try {
      ({ questions } = await fetchQuestions(card.ref));
    } catch {
      return; // the next request can succeed; until then the page stays as it is
    }
    for (const question of questions) {
      const key = keyOf(question.ref);
      const { answerable_in: _, ...lasting } = question;
      const text = JSON.stringify(lasting);
      const before = shown.get(key);
      if (before?.text === text) continue;
      const element = questionElement(question, before?.element.report ?? "", look);
      if (before) before.element.replaceWith(element);
      else panel.append(element);
      if (before?.element.sent) element.focus(); // the button that had the focus is gone
      shown.set(key, { text, element });
    }
    const present = new Set(questions.map((question) => keyOf(question.ref)));
    for (const [key, { element }] of shown) {
      if (present.has(key)) continue;
      element.remove();
      shown.delete(key);
    }
    panel.hidden = !shown.size;
  };
  const lookIfSeen = () => {
    if (!panel.isConnected) {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", lookIfSeen);
    } else if (!document.hidden) look();
  };
  const timer = setInterval(lookIfSeen, LOOK_AGAIN_MS);
  document.addEventListener("visibilitychange", lookIfSeen);
  panel.addEventListener("keydown", (event) => event.stopPropagation()); // here, the page's keys enter text or choose an option
  look();
  return panel;
}

/** Returns one question. `report` says what happened to an answer that was sent. */
function questionElement(question, report, look) {
  const place = leavingFrame(h("a", { class: "task", href: `${taskAddress(question.ref)}/required_actions` },
    icon("task"), h("span", {}, h("b", {}, question.ref.dag_id), ` ${taskName(question.ref)}`)));
  const element = h("div", { class: "question", tabIndex: -1, data: { state: question.state } },
    h("header", {}, h("h2", {}, question.subject ?? t("review")), place));
  const said = h("p", { class: "report", aria: { role: "alert" } });
  element.say = (text) => {
    element.report = text;
    said.textContent = text;
  };
  if (question.state === "decided") element.append(decisionElement(question.decided));
  else if (question.state === "closed") element.append(h("p", {}, t("question_closed")));
  else if (question.fields.some((field) => field.kind === "other")) element.append(h("p", {}, t("question_elsewhere")));
  else element.append(formElement(question, element, look));
  element.append(said);
  element.say(report);
  return element;
}

function decisionElement({ by, at, options, filled }) {
  const chosen = options.join(", ");
  const time = h("time", { dateTime: at }, moment(at));
  return h("div", { class: "decision" },
    h("p", {}, icon("landed"), h("b", {}, chosen), " ", h("span", {}, by === null ? t("decided_by_default") : t("decided_by", { name: by })), " ", time),
    filled.map(({ title, value }) => h("p", {}, h("span", {}, value === true ? title : `${title}: `), value === true ? null : h("q", { lang: "" }, String(value)))));
}

/** Returns the fields and options of an open question. `element` shows what happens to the answer. */
function formElement(question, element, look) {
  const fields = question.fields.filter((field) => field.kind !== "fixed" && field.confirms === null).map(fieldElement);
  const confirming = new Map(question.fields.filter((field) => field.confirms !== null).map((field) => [field.confirms, field]));
  const ticks = question.multiple ? question.options.map((option) => h("input", { type: "checkbox", value: option })) : [];
  const send = async (options, confirmed) => {
    const values = Object.fromEntries(question.fields.map((field) => [field.name, field.value]));
    for (const field of confirming.values()) values[field.name] = false;
    for (const { name, value } of fields) values[name] = value();
    for (const field of confirmed) values[field.name] = true;
    element.sent = true;
    element.say("");
    busy(true);
    const { status, detail } = await sendAnswer(question.ref, options, values);
    element.say(status === 200 ? "" : t(REFUSALS[status] ?? "answer_other", { status, detail }));
    await look();
    busy(false);
  };
  const choose = (options) => {
    const invalid = fields.find(({ input }) => !input.reportValidity());
    if (invalid || !options.length) {
      if (!invalid) element.say(t("choose_an_option"));
      return;
    }
    const confirmed = options.map((option) => confirming.get(option)).filter(Boolean);
    if (confirmed.length) askToConfirm(confirmed, () => send(options, confirmed));
    else send(options, []);
  };
  const buttons = question.multiple
    ? [h("button", { type: "button", class: "button primary", on: { click: () => choose(ticks.filter((tick) => tick.checked).map((tick) => tick.value)) } }, t("send_answer"))]
    : question.options.map((option) => h("button", { type: "button", class: "button", on: { click: () => choose([option]) } }, option));
  const row = h("div", { class: "row options" }, buttons);
  const confirmation = h("div", { class: "confirmation", hidden: true, aria: { role: "group" } });
  const askToConfirm = (asked, go) => {
    const back = () => {
      confirmation.hidden = true;
      row.hidden = false;
      buttons[0].focus();
    };
    const words = asked.map((field) => field.title).join(", ");
    const yes = h("button", { type: "button", class: "button primary", on: { click: () => { back(); go(); } } }, t("confirm", { what: words }));
    confirmation.replaceChildren(
      h("p", {}, asked.map((field) => field.description).filter(Boolean).join(" ") || t("confirm_first")),
      h("div", { class: "row" }, yes, h("button", { type: "button", class: "button", on: { click: back } }, t("cancel"))));
    confirmation.setAttribute("aria-label", words);
    confirmation.hidden = false;
    row.hidden = true;
    yes.focus();
  };
  const wait = h("p", { class: "wait", aria: { role: "status" } });
  const from = question.answerable_in === null ? null : performance.now() + question.answerable_in * 1000;
  let sending = false;
  const show = () => {
    const left = from === null ? null : Math.ceil((from - performance.now()) / 1000);
    const ready = left !== null && left <= 0;
    for (const button of buttons) button.disabled = sending || !ready;
    wait.textContent = sending ? t("sending") : ready ? "" : t(left === null ? "question_not_ready" : "answerable_soon");
    if (left > 0) setTimeout(show, from - performance.now() + 20);
  };
  const busy = (now) => {
    sending = now;
    show();
  };
  show();
  return h("div", { class: "answer-form" },
    question.assigned.length ? h("p", { class: "soft" }, t("assigned_to", { names: question.assigned.join(", ") })) : null,
    fields.map(({ label }) => label),
    ticks.length ? h("fieldset", {}, h("legend", {}, t("options")), ticks.map((tick) => h("label", { class: "pick" }, tick, tick.value))) : null,
    row, confirmation, wait);
}

/** Returns a field with its label, its input, and a function for its value. */
function fieldElement(field) {
  const limits = field.kind === "number" ? { min: field.least, max: field.most, step: "any" } : { minLength: field.least, maxLength: field.most };
  const shared = { required: field.required, title: field.description };
  const input = {
    text: () => h("textarea", { rows: 2, value: field.value ?? "", ...shared, ...limits }),
    number: () => h("input", { type: "number", value: field.value ?? "", ...shared, ...limits }),
    flag: () => h("input", { type: "checkbox", checked: field.value === true, title: field.description }),
    choice: () => h("select", shared, field.choices.map((choice, at) => h("option", { value: at, selected: choice === field.value }, String(choice)))),
  }[field.kind]();
  const value = {
    text: () => (input.value === "" && field.value === null ? null : input.value),
    number: () => (input.value === "" ? null : Number(input.value)),
    flag: () => input.checked,
    choice: () => field.choices[input.value],
  }[field.kind];
  return { name: field.name, input, value, label: h("label", { class: `field ${field.kind}` }, h("span", {}, field.title), input) };
}

/** Sends an answer to Airflow. Returns the HTTP status, 0 without a reply, and Airflow's reply. */
async function sendAnswer(ref, options, values) {
  const parts = ["api", "v2", "dags", ref.dag_id, "dagRuns", ref.run_id, "taskInstances", ref.task_id, ref.map_index, "hitlDetails"];
  try {
    const response = await fetch(new URL(parts.map(encodeURIComponent).join("/"), airflowAddress()), {
      method: "PATCH",
      credentials: "same-origin",
      headers: { Accept: "application/json", "Content-Type": "application/json" },
      body: JSON.stringify({ chosen_options: options, params_input: values }),
    });
    const { detail } = response.ok ? {} : await response.json().catch(() => ({}));
    return { status: response.status, detail: typeof detail === "string" ? detail : JSON.stringify(detail ?? "") };
  } catch {
    return { status: 0, detail: "" };
  }
}
