// A waveform with its player. The peaks come from the server, so that no file is decoded in the browser.

import WaveSurfer from "./vendor/wavesurfer.esm.js";

const FULL_SCALE = 255;
const STEP_SECONDS = 2;

// Return a player below `container`: { play, pause, toggle, playPart, seek, rate, zoom, time, destroy }.
// `source`: address or blob of the sound; `peaks`: Uint8Array, one byte for each 10 ms; `onTime(seconds)` is called
// while it plays, `onPlaying(boolean)` when it starts or stops.
export function waveform(container, { source, peaks, duration, onTime = () => {}, onPlaying = () => {}, onError = () => {} }) {
  const media = new Audio();
  media.preload = "metadata";
  media.src = source;
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return { waveColor: style.getPropertyValue("--edge"), progressColor: style.getPropertyValue("--accent") };
  };
  const surfer = WaveSurfer.create({
    container,
    media,
    peaks: [Float32Array.from(peaks, (peak) => peak / FULL_SCALE)],
    duration,
    height: 96,
    normalize: true,
    barWidth: 2,
    barGap: 1,
    barRadius: 2,
    cursorWidth: 2,
    cspNonce: document.querySelector('meta[name="csp-nonce"]').content,
    ...colours(),
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => surfer.setOptions(colours());
  dark.addEventListener("change", recolour);

  let stop = null; // where a part that is being played ends
  surfer.on("timeupdate", (seconds) => {
    onTime(seconds);
    if (stop !== null && seconds >= stop) {
      stop = null;
      surfer.pause();
    }
  });
  surfer.on("interaction", () => (stop = null));
  surfer.on("play", () => onPlaying(true));
  surfer.on("pause", () => onPlaying(false));
  surfer.on("finish", () => onPlaying(false));
  media.addEventListener("error", () => onError());

  const player = {
    play: () => {
      stop = null;
      return surfer.play().catch(onError);
    },
    pause: () => surfer.pause(),
    toggle: () => (surfer.isPlaying() ? surfer.pause() : player.play()),
    playPart: (start, end) => {
      surfer.setTime(Math.max(0, start));
      stop = end;
      return surfer.play().catch(onError);
    },
    seek: (seconds) => {
      stop = null;
      surfer.setTime(Math.min(Math.max(0, seconds), duration));
    },
    skip: (seconds) => player.seek(surfer.getCurrentTime() + seconds),
    rate: (factor) => surfer.setPlaybackRate(factor),
    zoom: (pixelsPerSecond) => surfer.zoom(pixelsPerSecond),
    time: () => surfer.getCurrentTime(),
    isPlaying: () => surfer.isPlaying(),
    destroy: () => {
      dark.removeEventListener("change", recolour);
      surfer.destroy();
      media.removeAttribute("src");
      media.load();
    },
  };
  container.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -STEP_SECONDS, ArrowRight: STEP_SECONDS };
    if (event.key in steps) player.skip(steps[event.key]);
    else if (event.key === "Home") player.seek(0);
    else if (event.key === "End") player.seek(duration);
    else if (event.key === " ") player.toggle();
    else return;
    event.preventDefault();
  });
  return player;
}
