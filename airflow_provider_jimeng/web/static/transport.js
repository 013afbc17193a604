// SPDX-License-Identifier: Apache-2.0
// The controls of a deck, and its keys. The player and the comparison have the same.

import { h, icon } from "./dom.js";
import { pngOf, timeCode } from "./frames.js";
import { saveFile } from "./host.js";
import { t } from "./i18n.js";

const SPEEDS = [0.25, 0.5, 1, 2];

function roundButton(name, label, run) {
  return h("button", { type: "button", class: "button tool", title: label, aria: { label }, on: { click: run } }, icon(name));
}

function playButton(deck) {
  const button = h("button", { type: "button", class: "button primary round", on: { click: () => deck.toggle() } });
  let drawn = null;
  button.show = () => {
    if (drawn === deck.playing) return;
    drawn = deck.playing;
    button.replaceChildren(icon(drawn ? "pause" : "play"));
    button.setAttribute("aria-label", t(drawn ? "pause" : "play"));
  };
  return button;
}

function speedSelect(deck) {
  const select = h("select", { aria: { label: t("speed") }, on: { change: () => deck.setSpeed(Number(select.value)) } },
    SPEEDS.map((rate) => h("option", { value: rate, selected: rate === 1 }, `${rate}×`)));
  return select;
}

/** Returns the time code and the number of the frame. Screen readers hear them as the value of the slider. */
function frameReadout(deck, slider) {
  const code = h("b", {});
  const frame = h("span", {});
  const element = h("div", { class: "position" }, code, " ", frame);
  let drawn = null;
  element.show = () => {
    const now = `${deck.frame} ${deck.duration}`;
    if (now === drawn) return;
    drawn = now;
    code.textContent = `${timeCode(deck.time, deck.fps)} / ${timeCode(deck.duration, deck.fps)}`;
    frame.textContent = t("frame_of", { frame: deck.frame + 1, frames: deck.frames });
    slider.setAttribute("aria-valuetext", element.textContent);
  };
  return element;
}

/** Saves the frame that is shown. The name has the number of the frame. */
async function savePicture(deck, name, status) {
  try {
    saveFile(await pngOf(deck.lead), `${name}-${String(deck.frame + 1).padStart(4, "0")}.png`);
    status.textContent = t("frame_saved");
  } catch {
    status.textContent = t("frame_not_saved");
  }
}

async function toggleFullScreen(element) {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await element.requestFullscreen?.();
}

/**
 * Returns the controls. `keys` are their rows for `useKeys`. `whole` is what fills the screen, `name` the beginning of the
 * name of a saved frame; without a name there is nothing to save. Videos start without sound in a comparison.
 */
export function transport(deck, { whole, name = null, muted = false }) {
  const status = h("span", { class: "spoken", aria: { role: "status" } });
  const play = playButton(deck);
  const slider = h("input", { type: "range", class: "seek", min: 0, max: 1000, value: 0, aria: { label: t("position") },
    on: { input: () => { deck.pause(); deck.seek((slider.value / 1000) * deck.duration); } } });
  const readout = frameReadout(deck, slider);
  const speed = speedSelect(deck);
  const loop = h("input", { type: "checkbox", checked: true, on: { change: () => { deck.looping = loop.checked; } } });
  const sound = h("input", { type: "checkbox", checked: !muted, on: { change: () => { deck.muted = !sound.checked; } } });
  const step = (count) => deck.seekFrame(deck.frame + count);
  const save = () => savePicture(deck, name, status);
  const full = () => toggleFullScreen(whole).catch(() => { status.textContent = t("no_full_screen"); });
  deck.muted = muted;

  const element = h("div", { class: "transport" },
    play, roundButton("frame_back", t("key_back"), () => step(-1)), roundButton("frame_next", t("key_ahead"), () => step(1)),
    slider, readout, speed,
    h("label", { class: "pick" }, loop, t("loop")), h("label", { class: "pick" }, sound, t("sound")),
    name ? h("button", { type: "button", class: "button", on: { click: save } }, icon("picture"), t("save_frame")) : null,
    document.fullscreenEnabled ? roundButton("full", t("full_screen"), full) : null, status);
  deck.onTick = () => {
    play.show();
    readout.show();
    if (deck.duration && (document.activeElement !== slider || deck.playing)) slider.value = (deck.time / deck.duration) * 1000;
  };
  const click = (box) => () => box.click();
  element.keys = [
    { keys: [" "], label: "Space", text: t("key_play"), run: () => deck.toggle() },
    { keys: ["j"], label: "J", text: t("key_shuttle_back"), run: () => deck.shuttle(-1) },
    { keys: ["k"], label: "K", text: t("pause"), run: () => deck.pause() },
    { keys: ["l"], label: "L", text: t("key_shuttle_ahead"), run: () => deck.shuttle(1) },
    { keys: ["ArrowLeft", ","], label: "← ,", text: t("key_back"), run: () => step(-1) },
    { keys: ["ArrowRight", "."], label: "→ .", text: t("key_ahead"), run: () => step(1) },
    { keys: ["Home"], label: "Home", text: t("key_first"), run: () => deck.seekFrame(0) },
    { keys: ["End"], label: "End", text: t("key_last"), run: () => deck.seekFrame(deck.frames - 1) },
    { keys: ["r"], label: "R", text: t("loop"), run: click(loop) },
    { keys: ["m"], label: "M", text: t("sound"), run: click(sound) },
    { keys: ["f"], label: "F", text: t("full_screen"), run: full },
    ...(name ? [{ keys: ["s"], label: "S", text: t("save_frame"), run: save }] : []),
  ];
  return element;
}
