// SPDX-License-Identifier: Apache-2.0
// Up to four renders side by side. The longest video leads, and the others follow its time.

import { h, icon } from "./dom.js";
import { errorNotice, fetchRender, refsOfAddress } from "./api.js";
import { failurePanel, priceText, taskName } from "./card.js";
import { resolution, span } from "./format.js";
import { leavingFrame, mediaAddress, renderAddress, taskAddress } from "./host.js";
import { t } from "./i18n.js";
import { reviewPanel } from "./review.js";

const TOLERANCE = 0.06; // seconds; about one and a half frames at 24 frames per second
const SPEEDS = [0.25, 0.5, 1, 2];
const FRAME = 1 / 24;

function takeElement(card, at, prompt) {
  const video = card.state === "landed"
    ? h("video", { muted: true, playsInline: true, preload: "auto", src: mediaAddress(card.ref), tabIndex: -1 })
    : null;
  const name = t("take", { count: at + 1 });
  const element = h("figure", { class: "take" },
    h("div", { class: "stage" }, video ?? (card.state === "failed" ? failurePanel(card) : h("p", { class: "gone" }, t("not_playable")))),
    h("figcaption", {},
      h("header", {}, h("a", { href: renderAddress(card.ref) }, name), card.prompt === prompt ? null : h("span", { class: "warn" }, t("other_prompt"))),
      h("ul", { class: "facts" },
        card.model ? h("li", { class: "model" }, card.model) : null,
        card.seed === null || card.seed === undefined ? null : h("li", {}, `${t("seed")} ${card.seed}`),
        resolution(card) ? h("li", {}, resolution(card)) : null,
        card.duration ? h("li", {}, span(card.duration)) : null,
        h("li", {}, priceText(card))),
      card.prompt === prompt ? null : h("p", { class: "prompt", lang: "", title: card.prompt ?? "" }, card.prompt ?? t("no_prompt")),
      leavingFrame(h("a", { class: "task", href: taskAddress(card.ref) }, icon("task"), h("span", {}, h("b", {}, card.ref.dag_id), ` ${taskName(card.ref)}`))),
      reviewPanel(card)));
  video?.addEventListener("error", () => {
    video.closest(".stage")?.replaceChildren(h("p", { class: "gone" }, icon("film"), t("media_gone")));
  });
  return { element, video };
}

/** Returns controls for several videos at once: play, pause, position, speed, repeat. */
function transport(videos) {
  const lead = () => videos.filter((video) => video.isConnected).reduce((longest, video) =>
    (!longest || (video.duration || 0) > (longest.duration || 0) ? video : longest), null);
  const others = () => videos.filter((video) => video.isConnected && video !== lead());
  let playing = false;
  let repeating = true;

  const setTime = (video, seconds) => {
    const last = Math.max(0, (video.duration || 0) - FRAME);
    video.currentTime = Math.min(seconds, last);
  };
  const seek = (seconds) => {
    for (const video of videos) setTime(video, Math.max(0, seconds));
    showTime();
  };
  const play = async () => {
    playing = true;
    if (lead()?.ended) seek(0);
    await Promise.allSettled(videos.map((video) => video.play()));
    showTime();
  };
  const pause = () => {
    playing = false;
    for (const video of videos) video.pause();
    for (const video of others()) setTime(video, lead().currentTime);
    showTime();
  };
  const follow = () => {
    const leader = lead();
    if (leader && playing) {
      for (const video of others()) {
        const over = leader.currentTime >= (video.duration || 0) - FRAME;
        if (!over && !video.seeking && Math.abs(video.currentTime - leader.currentTime) > TOLERANCE) video.currentTime = leader.currentTime;
        if (!over && video.paused) video.play().catch(() => {});
      }
      if (leader.ended) {
        if (repeating) play();
        else pause();
      }
    }
    showTime();
    requestAnimationFrame(follow);
  };

  const button = h("button", { type: "button", class: "button primary round", on: { click: () => (playing ? pause() : play()) } });
  const slider = h("input", { type: "range", min: 0, max: 1000, value: 0, aria: { label: t("position") },
    on: { input: () => seek((slider.value / 1000) * (lead()?.duration || 0)) } });
  const time = h("output", {});
  const speed = h("select", { aria: { label: t("speed") }, on: { change: () => { for (const video of videos) video.playbackRate = Number(speed.value); } } },
    SPEEDS.map((rate) => h("option", { value: rate, selected: rate === 1 }, `${rate}×`)));
  const repeat = h("input", { type: "checkbox", checked: true, on: { change: () => { repeating = repeat.checked; } } });
  const shownTime = (seconds) => `${(seconds || 0).toFixed(2)} s`;
  let drawn = null;
  const showTime = () => {
    const leader = lead();
    const now = leader?.currentTime ?? 0;
    if (document.activeElement !== slider || playing) slider.value = leader?.duration ? (now / leader.duration) * 1000 : 0;
    time.textContent = `${shownTime(now)} / ${shownTime(leader?.duration)}`;
    if (drawn === playing) return;
    drawn = playing;
    button.replaceChildren(icon(playing ? "pause" : "play"));
    button.setAttribute("aria-label", t(playing ? "pause" : "play"));
  };
  const element = h("div", { class: "transport" }, button, slider, time, speed, h("label", { class: "pick" }, repeat, t("loop")));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, a, button")) return;
    const step = { ArrowRight: FRAME, ArrowLeft: -FRAME, ".": FRAME, ",": -FRAME }[event.key];
    if (event.key === " ") (playing ? pause : play)();
    else if (step) seek((lead()?.currentTime ?? 0) + step);
    else return;
    event.preventDefault();
  });
  showTime();
  requestAnimationFrame(follow);
  return { element, play };
}

async function loadTake(ref) {
  try {
    return { card: (await fetchRender(ref)).card };
  } catch (error) {
    return { error };
  }
}

export async function comparePage(root) {
  const refs = refsOfAddress();
  const main = h("div", { class: "compare" });
  root.append(main);
  if (!refs.length) {
    main.append(h("div", { class: "notice" }, icon("compare"), h("h2", {}, t("compare_empty_title")), h("p", {}, t("compare_empty_text")),
      h("a", { class: "button primary", href: "./" }, t("back_to_renders"))));
    return;
  }
  main.append(h("div", { class: "takes-grid", data: { count: refs.length } }, refs.map(() => h("div", { class: "take" }, h("div", { class: "stage skeleton" })))));
  const loaded = await Promise.all(refs.map(loadTake));
  const prompt = loaded.find((one) => one.card)?.card.prompt ?? null;
  const takes = loaded.map(({ card, error }, at) =>
    (card ? takeElement(card, at, prompt) : { element: h("figure", { class: "take" }, errorNotice(error, () => location.reload())), video: null }));
  const videos = takes.map((take) => take.video).filter(Boolean);
  const controls = videos.length ? transport(videos) : null;
  main.replaceChildren(
    ...[
      h("section", { class: "heading" }, h("h1", { lang: "", title: prompt ?? "" }, prompt || t("compare"))),
      h("div", { class: "takes-grid", data: { count: takes.length } }, takes.map((take) => take.element)),
      controls?.element,
    ].filter(Boolean),
  );
  if (!controls || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const ready = (video) => new Promise((resolve) => {
    if (video.error || video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA) resolve();
    for (const type of ["canplay", "error"]) video.addEventListener(type, resolve, { once: true });
  });
  await Promise.all(videos.map(ready));
  controls.play();
}
