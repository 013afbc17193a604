// SPDX-License-Identifier: Apache-2.0
// Frames of a video: their numbers, the time code, and one of them as a picture.

const USUAL_FPS = 24;

export function fpsOf(card) {
  return card.fps > 0 ? card.fps : USUAL_FPS;
}

/** Returns the number of the frame at a time, from 0. */
export function frameAt(seconds, fps) {
  return Math.floor((seconds || 0) * fps + 0.01); // a frame's own start must not count as the frame before
}

/** Returns a time in the middle of a frame, where no rounding leads to the next one. */
export function middleOf(frame, fps) {
  return (frame + 0.5) / fps;
}

/** Returns minutes, seconds and frames, such as "00:03:12". */
export function timeCode(seconds, fps) {
  const frame = frameAt(seconds, fps);
  const whole = Math.floor(frame / fps + 1e-6);
  const rest = Math.round(frame - whole * fps);
  return [Math.floor(whole / 60), whole % 60, rest].map((part) => String(part).padStart(2, "0")).join(":");
}

/** Returns the frame that a video shows, as PNG. It fails if the video comes from a signed link of a store. */
export function pngOf(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/png");
  });
}
