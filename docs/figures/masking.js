'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const OWN = (100 * data.own_speaker).toFixed(0);
const TEXTS = {
  en: {
    title: 'Hide a part of the speech: what does wav2vec 2.0 predict there?',
    intro: 'This is a spectrogram of a spoken sentence. Drag across it to hide a part of it. The model gets only the rest, and ' +
      'predicts for each hidden frame of 20 ms which of its discrete units was there.',
    hint: 'Drag: new mask, or move the one that is there. Its edges change its length. Keys: left and right move it ' +
      '(with Shift by 200 ms), up and down change its length.',
    closer: 'The hidden part, enlarged',
    lengths: 'Length of the mask',
    whole: 'Spectrogram with a mask',
    near: 'Hidden part, enlarged: choose a frame',
    words: 'spoken', was: 'unit that was there', predicted: 'unit predicted', recording: 'recording',
    given: 'what the model gets', drawn: 'the predicted units, drawn as their mean spectra',
    value: (from, to) => `hidden from ${from} to ${to} s`,
    summary: (right, half, all, share, either, span, commonest) => `${right} of ${all} hidden frames are predicted exactly, ${half} more in ` +
      `one of the two entries. Masks of this length (${span} ms), at all places of the sentence: ${share} % exactly, ${either} % in at ` +
      `least one entry. Always naming the commonest unit: ${commonest} % exactly.`,
    frame: (time, phone) => `At ${time} s` + (phone ? `, in the phone ${phone}: ` : ': '),
    visible: 'this frame is visible. Choose one in the grey part.',
    reading: (was, first, sure, second, next, right) => `${was} was there (the model gave it ${right} %). Predicted: ${first}, ` +
      `${sure} %; next ${second}, ${next} %.`,
    unit: (name) => `unit ${name}`,
    yes: 'Right.', no: 'Wrong.',
    howTitle: 'What is computed',
    how: ['The model is the convolutional <code>tiny</code> of sori (1.9 million parameters), pre-trained on one core on 1.1 hours ' +
      'of English without transcripts, all of one speaker. This sentence is by another speaker, so it is a hard case: on held-out ' +
      'sentences of its own speaker, ' + OWN + ' % of the frames under masks of 200 ms are predicted exactly.',
      'A unit is a pair of codebook entries, such as 12·37. Units with similar spectra have similar colours. The candidates are the ' +
      'units of this sentence, each as often as it occurs, as in the contrastive loss with all frames as distractors.',
      'Short masks can be bridged by interpolation. Long ones cannot: in their middle the model can only guess, and its probabilities ' +
      'show it. That is why pre-training hides 200 ms at a time.'],
    licence: 'Recording: “Sense and Sensibility” (Jane Austen), read for LibriVox, public domain. Phones: automatic alignment ' +
      'distributed with PocketSphinx. This page makes no requests.',
  },
  ko: {
    title: '음성의 일부를 가리면 wav2vec 2.0은 무엇을 예측할까?',
    intro: '소리 내어 읽은 한 문장의 스펙트로그램이다. 위를 끌어 일부를 가려 보자. 모델은 나머지만 받아서, 가려진 20 ms 프레임마다 어떤 이산 단위가 ' +
      '있었는지 예측한다.',
    hint: '끌기: 새 마스크를 만들거나 있는 마스크를 옮긴다. 가장자리를 끌면 길이가 바뀐다. 키보드: 좌우 화살표로 옮기고(Shift와 함께 누르면 200 ms씩) ' +
      '위아래 화살표로 길이를 바꾼다.',
    closer: '가려진 부분 확대',
    lengths: '마스크 길이',
    whole: '마스크를 씌운 스펙트로그램',
    near: '가려진 부분 확대: 프레임 고르기',
    words: '발화', was: '실제 단위', predicted: '예측한 단위', recording: '녹음',
    given: '모델이 받는 입력', drawn: '예측한 단위를 평균 스펙트럼으로 그린 것',
    value: (from, to) => `${from}초부터 ${to}초까지 가림`,
    summary: (right, half, all, share, either, span, commonest) => `가려진 프레임 ${all}개 가운데 ${right}개를 정확히 맞혔고, ${half}개는 두 항목 가운데 ` +
      `하나만 맞혔다. 이 길이(${span} ms)의 마스크를 문장의 모든 위치에 놓으면 정확히 맞힌 비율이 ${share}%, 한 항목 이상 맞힌 비율이 ${either}%다. ` +
      `가장 흔한 단위만 답하면 ${commonest}%다.`,
    frame: (time, phone) => `${time}초` + (phone ? `(음소 ${phone}): ` : ': '),
    visible: '가려지지 않은 프레임이다. 회색 부분에서 골라 보자.',
    reading: (was, first, sure, second, next, right) => `실제 단위는 ${was}(모델이 준 확률 ${right}%). 예측: ${first} ${sure}%, ` +
      `다음은 ${second} ${next}%.`,
    unit: (name) => name,
    yes: '맞았다.', no: '틀렸다.',
    howTitle: '무엇을 계산했나',
    how: ['모델은 sori의 합성곱 모델 <code>tiny</code>(매개변수 190만 개)이며, 한 화자의 전사문 없는 영어 음성 1.1시간으로 코어 하나에서 사전학습했다. 이 문장은 ' +
      '다른 화자의 것이어서 어려운 경우다. 학습에 쓰지 않은 같은 화자의 문장에서는 200 ms 마스크에 가려진 프레임의 ' + OWN + '%를 정확히 맞힌다.',
      '단위 하나는 12·37처럼 두 코드북 항목의 쌍이다. 스펙트럼이 비슷한 단위는 색도 비슷하다. 후보는 이 문장에 나오는 단위들이고, 나오는 횟수만큼 센다. ' +
      '모든 프레임을 부정 표본으로 쓴 대조 손실과 같다.',
      '짧은 마스크는 보간으로 메울 수 있다. 긴 마스크는 그렇지 않다. 한가운데에서 모델은 짐작할 뿐이고, 확률이 그 사실을 보여 준다. 사전학습에서 한 번에 ' +
      '200 ms를 가리는 까닭이다.'],
    licence: '녹음: LibriVox의 『이성과 감성』(제인 오스틴) 낭독, 퍼블릭 도메인. 음소: PocketSphinx에 들어 있는 자동 정렬. 이 페이지는 네트워크를 쓰지 않는다.',
  },
};

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const cells = Object.fromEntries(['first', 'second', 'sure', 'next', 'right'].map((name) => [name, bytes(data[name])]));
const mel = bytes(data.mel), spectra = bytes(data.spectra);
const MARGIN = 10, HANDLE_PIXELS = 12, STEP = 10;
const begins = [];  // index of the first cell of each length
data.spans.reduce((sum, span) => (begins.push(sum), sum + span * (data.frames - span + 1)), 0);
const state = { start: 100, span: 2, frame: 105, language: 'en' };
const whole = document.getElementById('whole'), near = document.getElementById('near');

const length = () => data.spans[state.span];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const nearest = (frames) => data.spans.reduce(
  (best, span, index) => Math.abs(span - frames) < Math.abs(data.spans[best] - frames) ? index : best, 0);
const hidden = (frame) => frame >= state.start && frame < state.start + length();
const cell = (frame) => begins[state.span] + state.start * length() + frame - state.start;
const seconds = (frame) => (frame / 50).toFixed(2);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const phoneAt = (frame) => {
  for (const word of data.words) for (const [name, from, to] of word.phones) if (frame + .5 >= from && frame + .5 < to) return name;
  return '';
};

// Spectrograms: one pixel for a band of a frame; cividis-like ramp from dark blue to pale yellow.
const RAMP = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]];
const shade = (value) => {
  const at = value / 255 * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[low].map((part, index) => part + (RAMP[low + 1][index] - part) * (at - low));
};
function picture(from, to, rowOf) {
  const image = new ImageData(to - from, data.mels);
  for (let frame = from; frame < to; frame++) {
    const [table, row] = rowOf(frame);
    for (let band = 0; band < data.mels; band++) {
      const spot = 4 * ((data.mels - 1 - band) * (to - from) + frame - from);
      image.data.set([...shade(table[row * data.mels + band]), 255], spot);
    }
  }
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [to - from, data.mels];
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas;
}
const sentence = picture(0, data.frames, (frame) => [mel, frame]);

function pen(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.style.height = `${height}px`;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const draw = canvas.getContext('2d');
  draw.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw.imageSmoothingEnabled = false;
  draw.font = '12px system-ui, sans-serif';
  draw.textBaseline = 'middle';
  return [draw, width];
}
function label(draw, text, y) {
  draw.fillStyle = colour('--soft');
  draw.textAlign = 'left';
  draw.fillText(text, 0, y);
}
function hatch(draw, x, y, width, height) {
  draw.save();
  draw.beginPath();
  draw.rect(x, y, width, height);
  draw.clip();
  draw.fillStyle = colour('--mask');
  draw.fillRect(x, y, width, height);
  draw.strokeStyle = colour('--paper');
  draw.globalAlpha = .5;
  for (let at = -height; at < width; at += 8) {
    draw.beginPath();
    draw.moveTo(x + at, y + height);
    draw.lineTo(x + at + height, y);
    draw.stroke();
  }
  draw.restore();
}
function tiles(draw, from, to, scale, y, unitOf, height = 16) {
  for (let frame = from; frame < to; frame++) {
    const unit = unitOf(frame);
    if (unit === null) continue;
    draw.fillStyle = data.colours[unit];
    draw.fillRect((frame - from) * scale, y, Math.ceil(scale * 10) / 10 + .3, height);
  }
}
const predicted = (frame) => hidden(frame) ? cells.first[cell(frame)] : null;

function drawWhole() {
  const text = TEXTS[state.language], [draw, width] = pen(whole, 218), scale = width / data.frames;
  draw.textAlign = 'center';
  draw.fillStyle = colour('--ink');
  for (const word of data.words) {
    const from = word.phones[0][1], to = word.phones[word.phones.length - 1][2];
    if (draw.measureText(word.text).width < (to - from) * scale - 2) draw.fillText(word.text, (from + to) / 2 * scale, 9);
    draw.fillRect(from * scale, 17, 1, 4);
  }
  draw.drawImage(sentence, 0, 22, width, 112);
  const x = state.start * scale, wide = length() * scale;
  draw.globalAlpha = .93;
  hatch(draw, x, 22, wide, 112);
  draw.globalAlpha = 1;
  draw.strokeStyle = colour('--accent');
  draw.lineWidth = 3;
  draw.strokeRect(x, 22, wide, 112);
  label(draw, text.was, 145);
  tiles(draw, 0, data.frames, scale, 154, (frame) => data.units[frame]);
  label(draw, text.predicted, 181);
  draw.fillStyle = colour('--card');
  draw.fillRect(0, 190, width, 16);
  tiles(draw, 0, data.frames, scale, 190, predicted);
  draw.strokeRect(x, 152, wide, 56);
  whole.setAttribute('aria-valuemin', 0);
  whole.setAttribute('aria-valuemax', data.frames - length());
  whole.setAttribute('aria-valuenow', state.start);
  whole.setAttribute('aria-valuetext', text.value(seconds(state.start), seconds(state.start + length())));
}

const range = () => [Math.max(0, state.start - MARGIN), Math.min(data.frames, state.start + length() + MARGIN)];
function drawNear() {
  const text = TEXTS[state.language], [draw, width] = pen(near, 376), [from, to] = range(), scale = width / (to - from);
  draw.textAlign = 'center';
  for (const word of data.words) for (const [name, begin, end] of word.phones) {
    if (end <= from || begin >= to) continue;
    draw.fillStyle = colour('--line');
    draw.fillRect((begin - from) * scale, 2, 1, 16);
    draw.fillStyle = colour('--ink');
    if (draw.measureText(name).width < (end - begin) * scale) draw.fillText(name, ((begin + end) / 2 - from) * scale, 10);
  }
  const x = (state.start - from) * scale, wide = length() * scale;
  const rows = [
    [text.recording, 30, picture(from, to, (frame) => [mel, frame])],
    [text.given, 126, picture(from, to, (frame) => [mel, frame])],
    [text.drawn, 222, picture(from, to, (frame) => hidden(frame) ? [spectra, predicted(frame)] : [mel, frame])],
  ];
  for (const [name, y, image] of rows) {
    label(draw, name, y);
    draw.drawImage(image, 0, y + 9, width, 68);
    if (name === text.given) hatch(draw, x, y + 9, wide, 68);
  }
  label(draw, text.was, 318);
  tiles(draw, from, to, scale, 327, (frame) => data.units[frame], 14);
  label(draw, text.predicted, 350);
  tiles(draw, from, to, scale, 359, predicted, 14);
  draw.fillStyle = colour('--paper');
  for (let frame = state.start; frame < state.start + length(); frame++) {
    if (predicted(frame) !== data.units[frame]) continue;
    draw.beginPath();
    draw.arc((frame - from + .5) * scale, 366, clamp(scale / 4, 1.5, 4), 0, 7);
    draw.fill();
  }
  draw.strokeStyle = colour('--accent');
  draw.lineWidth = 2;
  draw.strokeRect((state.frame - from) * scale, 38, scale, 337);
  near.setAttribute('aria-valuemin', from);
  near.setAttribute('aria-valuemax', to - 1);
  near.setAttribute('aria-valuenow', state.frame);
}

function read() {
  const text = TEXTS[state.language], chance = (value) => Math.round(100 * value / 255);
  const name = (unit) => `<i style="background:${data.colours[unit]}"></i>` +
    `<b>${text.unit(data.codes[unit].join('·'))}</b>`;
  let line = text.frame(seconds(state.frame), phoneAt(state.frame));
  if (!hidden(state.frame)) line += text.visible;
  else {
    const at = cell(state.frame), was = data.units[state.frame];
    line += text.reading(name(was), name(cells.first[at]), chance(cells.sure[at]), name(cells.second[at]),
      chance(cells.next[at]), chance(cells.right[at])) + ` ${was === cells.first[at] ? text.yes : text.no}`;
  }
  document.getElementById('reading').innerHTML = line;
  near.setAttribute('aria-valuetext', document.getElementById('reading').textContent);
  let right = 0, half = 0;
  for (let frame = state.start; frame < state.start + length(); frame++) {
    const named = data.codes[predicted(frame)], there = data.codes[data.units[frame]];
    const equal = named.filter((entry, group) => entry === there[group]).length;
    right += equal === 2;
    half += equal === 1;
  }
  const percent = (share) => (100 * share).toFixed(0);
  document.getElementById('summary').textContent = text.summary(right, half, length(), percent(data.found[state.span]),
    percent(data.half[state.span]), 20 * length(), percent(data.commonest));
}

function show() {
  drawWhole();
  drawNear();
  read();
  for (const button of document.querySelectorAll('#lengths button'))
    button.setAttribute('aria-pressed', Number(button.dataset.span) === state.span);
}
function set(start, span, frame = null) {
  state.span = clamp(span, 0, data.spans.length - 1);
  state.start = clamp(Math.round(start), 0, data.frames - length());
  const [from, to] = range();
  state.frame = clamp(frame === null ? state.start + (length() >> 1) : frame, from, to - 1);
  show();
}
function translate(language) {
  state.language = language in TEXTS ? language : 'en';
  const text = TEXTS[state.language];
  document.documentElement.lang = state.language;
  document.title = text.title;
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = text[element.dataset.text];
  document.getElementById('how').innerHTML = text.how.map((part) => `<p>${part}</p>`).join('');
  whole.setAttribute('aria-label', text.whole);
  near.setAttribute('aria-label', text.near);
  for (const button of document.querySelectorAll('#languages button'))
    button.setAttribute('aria-pressed', button.dataset.language === state.language);
  document.querySelector('#lengths span').textContent = text.lengths;
  show();
}

// The mask: a drag that begins on an edge changes its length, inside moves it, elsewhere draws a new one.
let grip = null;
const frameAt = (canvas, event, from, to) => {
  const box = canvas.getBoundingClientRect();
  return from + (event.clientX - box.left) / box.width * (to - from);
};
whole.addEventListener('pointerdown', (event) => {
  const at = frameAt(whole, event, 0, data.frames), near = HANDLE_PIXELS * data.frames / whole.clientWidth;
  const end = state.start + length();
  // Edges of a narrow mask stop at a third of its width, so that it can still be moved.
  const inner = Math.min(near, length() / 3);
  if (at > state.start - near && at < state.start + inner) grip = { kind: 'edge', fixed: end };
  else if (at > end - inner && at < end + near) grip = { kind: 'edge', fixed: state.start };
  else if (hidden(Math.floor(at))) grip = { kind: 'move', offset: at - state.start };
  else grip = { kind: 'edge', fixed: at, fresh: true };
  grip.from = event.clientX;
  whole.setPointerCapture(event.pointerId);
});
whole.addEventListener('pointermove', (event) => {
  if (!grip) return;
  const at = frameAt(whole, event, 0, data.frames);
  if (grip.fresh && Math.abs(event.clientX - grip.from) < 4) return;
  grip.fresh = false;
  if (grip.kind === 'move') return set(at - grip.offset, state.span);
  const span = nearest(Math.abs(at - grip.fixed));
  set(at < grip.fixed ? grip.fixed - data.spans[span] : grip.fixed, span);
});
whole.addEventListener('pointerup', (event) => {
  if (grip && grip.fresh) set(frameAt(whole, event, 0, data.frames) - length() / 2, state.span);
  grip = null;
});
whole.addEventListener('pointercancel', () => { grip = null; });
whole.addEventListener('keydown', (event) => {
  const step = event.shiftKey ? STEP : 1;
  const moves = {
    ArrowLeft: () => set(state.start - step, state.span), ArrowRight: () => set(state.start + step, state.span),
    ArrowUp: () => set(state.start, state.span + 1), ArrowDown: () => set(state.start, state.span - 1),
    Home: () => set(0, state.span), End: () => set(data.frames, state.span),
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  moves[event.key]();
});

const choose = (event) => set(state.start, state.span, Math.floor(frameAt(near, event, ...range())));
near.addEventListener('pointerdown', choose);
near.addEventListener('pointermove', choose);
near.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  set(state.start, state.span, state.frame + step);
});

const lengths = document.getElementById('lengths');
lengths.append(document.createElement('span'));
data.spans.forEach((span, index) => {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: `${20 * span} ms` });
  button.dataset.span = index;
  button.addEventListener('click', () => set(state.start + (length() - span) / 2, index));
  lengths.append(button);
});
for (const button of document.querySelectorAll('#languages button'))
  button.addEventListener('click', () => translate(button.dataset.language));
addEventListener('resize', show);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show);
translate(new URLSearchParams(location.search).get('lang') || 'en');
window.masking = { state, data, cells, set, translate, predicted, sentence };
