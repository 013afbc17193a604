// SPDX-License-Identifier: Apache-2.0
// Plays one video or several as one. The longest video leads, and the others follow its time.

import { frameAt, middleOf } from "./frames.js";

const TOLERANCE = 0.06; // seconds; about one and a half frames at 24 frames per second
const FASTEST = 4;

/** The videos of a page with one position and one speed. Backwards, it shows one frame after the other. */
export class Deck {
  constructor(videos, fps) {
    this.all = videos;
    this.fps = fps;
    this.looping = true;
    this.speed = 1;
    this.rate = 0; // 0 is a pause; below 0 the deck goes backwards
    this.last = 0;
    requestAnimationFrame((now) => this.tick(now));
  }

  get videos() {
    return this.all.filter((video) => video.isConnected);
  }

  get lead() {
    return this.videos.reduce((longest, video) => (!longest || (video.duration || 0) > (longest.duration || 0) ? video : longest), null);
  }

  get time() {
    return this.lead?.currentTime ?? 0;
  }

  get duration() {
    return this.lead?.duration || 0;
  }

  get frame() {
    return Math.min(frameAt(this.time, this.fps), this.frames - 1);
  }

  get frames() {
    return Math.max(1, Math.round(this.duration * this.fps));
  }

  get playing() {
    return this.rate !== 0;
  }

  seek(seconds) {
    for (const video of this.videos) {
      const end = Math.max(0, (video.duration || 0) - 0.5 / this.fps);
      video.currentTime = Math.min(Math.max(0, seconds), end);
    }
  }

  seekFrame(number) {
    this.pause();
    this.seek(middleOf(Math.min(Math.max(0, number), this.frames - 1), this.fps));
  }

  play(rate = this.speed) {
    this.rate = rate;
    if (rate < 0) {
      for (const video of this.videos) video.pause();
      return;
    }
    if (this.lead?.ended) this.seek(0);
    for (const video of this.videos) {
      video.playbackRate = rate;
      video.play().catch(() => {}); // the browser rejects the play if a pause follows at once
    }
  }

  pause() {
    const moved = this.playing;
    this.rate = 0;
    for (const video of this.videos) video.pause();
    if (moved && this.lead) this.seek(middleOf(this.frame, this.fps));
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Plays ahead (1) or backwards (-1); each further call in the same direction doubles the speed. */
  shuttle(direction) {
    const same = Math.sign(this.rate) === direction;
    this.play(same ? direction * Math.min(FASTEST, 2 * Math.abs(this.rate)) : direction);
  }

  setSpeed(speed) {
    this.speed = speed;
    if (this.rate > 0) this.play(speed);
    else for (const video of this.videos) video.playbackRate = speed;
  }

  set muted(muted) {
    for (const video of this.videos) video.muted = muted;
  }

  tick(now) {
    const passed = Math.min(0.25, (now - this.last) / 1000);
    this.last = now;
    if (this.rate < 0) this.goBack(passed);
    else if (this.rate > 0) this.follow();
    this.onTick?.();
    requestAnimationFrame((next) => this.tick(next));
  }

  goBack(passed) {
    this.behind = (this.behind ?? 0) + passed * -this.rate;
    if (this.videos.some((video) => video.seeking)) return;
    if (this.time <= 0.5 / this.fps) {
      this.behind = 0;
      this.pause();
    } else if (this.behind * this.fps >= 1) {
      this.seek(this.time - this.behind);
      this.behind = 0;
    }
  }

  follow() {
    const { lead } = this;
    if (!lead) return;
    for (const video of this.videos) {
      const over = lead.currentTime >= (video.duration || 0) - 1 / this.fps;
      if (video === lead || over) continue;
      if (!video.seeking && Math.abs(video.currentTime - lead.currentTime) > TOLERANCE) video.currentTime = lead.currentTime;
      if (video.paused) video.play().catch(() => {});
    }
    if (!lead.ended) return;
    if (this.looping) this.play(this.rate);
    else this.pause();
  }
}
