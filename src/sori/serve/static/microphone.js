// Record with the microphone, and read along while someone speaks.

const RATE = 16000;
const STARTS_WITHIN = 5000;

// Why the microphone cannot be used, or null.
export function obstacle() {
  if (navigator.mediaDevices?.getUserMedia) return null;
  return "Browsers give the microphone only to pages of this machine, or with https.";
}

// Why a recording could not begin; browsers have other words for the same reason, and some have none.
export function reasonOf(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "it is not allowed. Allow it for this page in the settings of the browser or of the system, then try again.";
    case "NotFoundError":
    case "OverconstrainedError": // WebKit's, where there is none
      return "none was found. Connect a microphone, then try again.";
    case "NotReadableError":
      return "it cannot be opened. Likely another program uses it; end that, then try again.";
    default:
      return error.message;
  }
}

// Begin a recording. Returns { stop }, which returns a WAV file.
// `onLevel(0 to 1)`, `onText(final, partial)`: while it runs; `onEnd()`: the microphone has been taken away.
export async function record({ onLevel, onText, onProblem, onEnd }) {
  const constraints = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
  const media = await navigator.mediaDevices.getUserMedia({ audio: constraints });
  const stopTracks = () => media.getTracks().forEach((track) => track.stop());
  const context = newContext();
  try {
    await context.audioWorklet.addModule("/static/pcm_worklet.js");
    await started(context);
  } catch (error) {
    stopTracks();
    context.close();
    throw error;
  }
  const collector = new AudioWorkletNode(context, "collector", { numberOfOutputs: 0 });
  const live = liveText(onText, onProblem);
  const blocks = [];
  collector.port.onmessage = ({ data }) => {
    blocks.push(integers(data));
    onLevel(Math.max(...data.map(Math.abs)));
    live.send(integers(resampled(data, context.sampleRate)));
  };
  context.createMediaStreamSource(media).connect(collector);
  for (const track of media.getTracks()) track.addEventListener("ended", onEnd); // not when `stop` is called
  return {
    stop: async () => {
      stopTracks();
      live.end();
      const { sampleRate } = context;
      await context.close();
      return new Blob([header(blocks, sampleRate), ...blocks], { type: "audio/wav" });
    },
  };
}

// A context at the rate of the recogniser, where the browser connects a microphone to it (Firefox does not).
function newContext() {
  const isFirefox = "mozInnerScreenX" in window;
  return new AudioContext(isFirefox ? {} : { sampleRate: RATE });
}

// Firefox computes no sound, and says nothing, where the machine has no device to play it; others may wait for a click.
async function started(context) {
  const reason = "the browser does not start its sound. Connect headphones or a loudspeaker, then try again.";
  let timer;
  const late = new Promise((_, refuse) => (timer = setTimeout(() => refuse(new Error(reason)), STARTS_WITHIN)));
  await Promise.race([context.resume(), late]);
  clearTimeout(timer);
}

function liveText(onText, onProblem) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/v1/audio/stream`);
  const waiting = [];
  const finals = [];
  let isOver = false;
  socket.onopen = () => waiting.splice(0).forEach((part) => socket.send(part));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "final") finals.push(message.text);
    if (message.type === "error") fail(message.message);
    else onText(finals.join(" "), message.type === "partial" ? message.text : "");
  };
  const fail = (words) => {
    if (!isOver) onProblem(words);
    isOver = true;
  };
  socket.onclose = () => fail("No more text comes while you speak: the connection was lost. The recording goes on.");
  return {
    send: (part) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(part);
      else if (socket.readyState === WebSocket.CONNECTING) waiting.push(part);
    },
    end: () => {
      isOver = true;
      socket.close(1000);
    },
  };
}

// Samples at 16 kHz, each the average of those that it replaces: good enough to read along; the file keeps them all.
function resampled(samples, rate) {
  if (rate === RATE) return samples;
  const made = new Float32Array(Math.floor((samples.length * RATE) / rate));
  for (let index = 0; index < made.length; index++) {
    const first = Math.floor((index * rate) / RATE);
    const stop = Math.max(first + 1, Math.floor(((index + 1) * rate) / RATE));
    let sum = 0;
    for (let at = first; at < stop; at++) sum += samples[at];
    made[index] = sum / (stop - first);
  }
  return made;
}

function integers(samples) {
  return Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32767))));
}

function header(blocks, rate) {
  const bytes = blocks.reduce((sum, block) => sum + block.byteLength, 0);
  const view = new DataView(new ArrayBuffer(44));
  const text = (offset, letters) => [...letters].forEach((one, at) => view.setUint8(offset + at, one.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  return view.buffer;
}
