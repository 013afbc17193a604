// SPDX-License-Identifier: Apache-2.0
// The picture of a saved video on a card: its poster, or else its first frame. Under the pointer it moves through the frames
// of the preview, or else of the video. Under the keyboard's focus the video plays.

import { h, icon } from "./dom.js";
import { fetchTiles } from "./api.js";
import { mediaAddress } from "./host.js";
import { t } from "./i18n.js";

const STILL_AT = 0.1; // seconds; the first frame is often black
const nearTheScreen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      nearTheScreen.unobserve(target);
      target.loadPicture();
    }
  },
  { rootMargin: "300px" },
);

/** Returns the picture of a video. It loads when it comes near the screen: the poster, and the video if there is none. */
export function still(ref) {
  const poster = h("img", { class: "poster", alt: "", draggable: false });
  const element = h("div", { class: "still" }, poster);
  element.ref = ref;
  element.loadPicture = () => { poster.src = mediaAddress(ref, "poster"); };
  poster.addEventListener("load", () => poster.classList.add("ready"));
  poster.addEventListener("error", () => {
    poster.remove();
    loadVideo(element);
  });
  nearTheScreen.observe(element);
  return element;
}

/** Adds the video to a picture, once, and returns it; null if it cannot be played. */
function loadVideo(element) {
  const known = element.querySelector("video");
  if (known || element.querySelector(".gone")) return known;
  const video = h("video", { muted: true, loop: true, playsInline: true, preload: "metadata", tabIndex: -1 });
  video.disableRemotePlayback = true;
  video.addEventListener("error", () => element.replaceChildren(h("p", { class: "gone" }, icon("film"), t("media_gone"))));
  video.addEventListener("loadeddata", () => video.classList.add("ready"));
  video.src = `${mediaAddress(element.ref)}#t=${STILL_AT}`;
  element.append(video);
  return video;
}

/** Returns the element that shows one frame of a preview at a time, as large as the card allows. */
function frameElement({ ref, clientWidth, clientHeight }, tiles) {
  const sheet = { width: Math.max(...tiles.map((tile) => tile.x + tile.width)), height: Math.max(...tiles.map((tile) => tile.y + tile.height)) };
  const [{ width, height }] = tiles;
  const frame = h("i", {});
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style[width / height < clientWidth / clientHeight ? "height" : "width"] = "100%";
  frame.style.backgroundImage = `url("${mediaAddress(ref, "preview")}")`;
  frame.style.backgroundSize = `${(100 * sheet.width) / width}% ${(100 * sheet.height) / height}%`;
  const share = (start, free) => `${free > 0 ? (100 * start) / free : 0}%`;
  const element = h("div", { class: "scrub", hidden: true }, frame);
  element.show = (position) => {
    const number = Math.min(tiles.length - 1, Math.max(0, Math.floor(position * tiles.length)));
    const tile = tiles[number];
    frame.style.backgroundPosition = `${share(tile.x, sheet.width - width)} ${share(tile.y, sheet.height - height)}`;
    frame.dataset.frame = number;
    element.hidden = false;
  };
  return element;
}

/** Shows the frame of a video at a share of its length. A frame that is still being looked for is not asked for again. */
function showFrame(video, share) {
  video.wanted = share;
  const seek = () => {
    if (video.seeking || video.readyState < HTMLMediaElement.HAVE_METADATA) return;
    const time = video.wanted * Math.max(0, video.duration - STILL_AT);
    if (Math.abs(video.currentTime - time) > 1 / 48) video.currentTime = time;
  };
  if (!video.scrubs) {
    video.scrubs = true;
    for (const type of ["loadedmetadata", "seeked"]) video.addEventListener(type, seek);
  }
  seek();
}

/** Moves the picture of a card: the pointer chooses the frame, and under the focus the video plays. */
export function movesWhilePointedAt(card, element) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let tiles = null; // a promise once the pointer was here
  let scrub = null;
  let pointer = null; // where the pointer is: 0 at the left edge of the card, 1 at the right; null elsewhere

  const play = () => {
    if (!calm.matches) loadVideo(element)?.play().catch(() => {}); // the browser rejects the play if a pause follows at once
  };
  const stop = () => element.querySelector("video")?.pause();
  const show = () => {
    if (pointer === null) return;
    if (scrub) scrub.show(pointer);
    else {
      const video = loadVideo(element);
      video?.pause();
      if (video) showFrame(video, pointer);
    }
  };
  const point = async (event) => {
    if (event.pointerType === "touch") return;
    const box = element.getBoundingClientRect();
    pointer = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    tiles ??= fetchTiles(element.ref).catch(() => []);
    const found = await tiles;
    if (found.length && !scrub) {
      scrub = frameElement(element, found);
      element.append(scrub);
    }
    show();
  };
  const leave = () => {
    pointer = null;
    if (scrub) scrub.hidden = true;
    stop();
  };
  for (const type of ["pointerenter", "pointermove"]) card.addEventListener(type, point);
  card.addEventListener("pointerleave", leave);
  card.querySelector("a.picture").addEventListener("focus", play);
  card.querySelector("a.picture").addEventListener("blur", stop);
}
