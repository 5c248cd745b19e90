"use strict";
// Similarities of one positive (number 0) and its negatives, a temperature, and what a contrastive loss makes of them.
const TEXT = {
  en: {
    title: "Contrastive loss",
    intro: "One candidate is right, the others are wrong. The model gives each a similarity with what it has predicted. "
      + "The loss is small if the right one is more similar than all others. Move the similarities and the temperature.",
    situations: "Situations", temperature: "Temperature τ", kind: "Loss",
    softmax: "softmax: CPC, SimCLR, wav2vec 2.0", binary: "binary: Word2Vec, wav2vec",
    candidate: "Candidate", similarity: "similarity", probability: "probability", gradient: "gradient",
    positive: "positive", negative: "negative", fewer: "Fewer negatives", more: "More negatives",
    loss: "loss, nats", equal: "loss if all are equally similar", right: "probability of the positive",
    bound: "ln N − loss: bound on the information, nats", hardest: "of the push goes to the nearest negative",
    curve: "Loss over the temperature, with these similarities", legend:
      "Gradient: of the loss with respect to the similarity. Left (below 0): training raises this similarity. Right (above 0): "
      + "training lowers it. The longest bar is the largest gradient.",
    untrained: "before training", learnt: "learnt", hard: "hard negative", false: "false negative", collapsed: "collapse",
    why: {
      untrained: "All similarities are 0, so every candidate is equally likely. The positive is pulled as strongly as all "
        + "negatives together are pushed.",
      learnt: "The positive is clearly more similar. Lower the temperature: the loss falls although no similarity has "
        + "changed. Losses at different temperatures cannot be compared.",
      hard: "One negative is nearly as similar as the positive. At a low temperature it gets almost all of the push. At a "
        + "high one, all negatives are pushed alike.",
      false: "One negative is the same sound as the positive. The two share the probability, and training pushes apart "
        + "what belongs together.",
      collapsed: "The model gives the same vector to everything: all similarities are 1. With softmax, the loss is that of "
        + "chance at every temperature.",
      own: "Your own similarities.",
    },
  },
  ko: {
    title: "대조 손실",
    intro: "후보 하나는 정답이고 나머지는 오답이다. 모델은 자신의 예측과 각 후보가 얼마나 비슷한지 유사도를 매긴다. 정답의 유사도가 "
      + "나머지보다 높을수록 손실이 작다. 유사도와 온도를 움직여 보자.",
    situations: "상황", temperature: "온도 τ", kind: "손실",
    softmax: "소프트맥스: CPC, SimCLR, wav2vec 2.0", binary: "이진 분류: Word2Vec, wav2vec",
    candidate: "후보", similarity: "유사도", probability: "확률", gradient: "기울기",
    positive: "긍정 표본", negative: "부정 표본", fewer: "부정 표본 줄이기", more: "부정 표본 늘리기",
    loss: "손실(nat)", equal: "유사도가 모두 같을 때의 손실", right: "긍정 표본의 확률",
    bound: "ln N − 손실: 정보량의 하한(nat)", hardest: "미는 힘 가운데 가장 가까운 부정 표본의 몫",
    curve: "지금 유사도에서 온도에 따른 손실", legend:
      "기울기는 손실을 유사도로 미분한 값이다. 왼쪽(음수)이면 학습이 그 유사도를 높이고, 오른쪽(양수)이면 낮춘다. 가장 긴 막대가 "
      + "가장 큰 기울기다.",
    untrained: "학습 전", learnt: "학습 후", hard: "어려운 부정 표본", false: "거짓 부정 표본", collapsed: "붕괴",
    why: {
      untrained: "유사도가 모두 0이므로 후보의 확률이 모두 같다. 긍정 표본을 당기는 힘은 부정 표본 전체를 미는 힘과 같다.",
      learnt: "긍정 표본이 뚜렷하게 더 비슷하다. 온도를 낮춰 보자. 유사도는 그대로인데 손실이 줄어든다. 온도가 다르면 손실을 서로 견줄 수 없다.",
      hard: "부정 표본 하나의 유사도가 긍정 표본에 거의 맞먹는다. 온도가 낮으면 미는 힘이 거의 모두 그 표본에 몰리고, 온도가 높으면 모든 부정 표본을 "
        + "고르게 민다.",
      false: "부정 표본 하나가 긍정 표본과 같은 소리다. 둘이 확률을 나누어 가지므로, 가까이 있어야 할 것을 학습이 떼어 놓는다.",
      collapsed: "모델이 모든 입력에 같은 벡터를 주어 유사도가 모두 1이다. 소프트맥스에서는 온도와 상관없이 손실이 우연 수준에 머문다.",
      own: "직접 정한 유사도다.",
    },
  },
};
const SITUATIONS = {
  untrained: [0, 0, 0, 0, 0, 0, 0, 0],
  learnt: [0.8, 0.15, 0.05, -0.1, 0.2, 0, -0.2, 0.1],
  hard: [0.8, 0.7, 0.05, -0.1, 0.2, 0, -0.2, 0.1],
  false: [0.8, 0.8, 0.05, -0.1, 0.2, 0, -0.2, 0.1],
  collapsed: [1, 1, 1, 1, 1, 1, 1, 1],
};
const FEWEST = 2, MOST = 16, COLDEST = 0.02, HOTTEST = 2;
const at = id => document.getElementById(id);
const written = (value, digits) => value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "");
const state = {language: "en", situation: "hard", kind: "softmax", temperature: 0.1, similarities: [...SITUATIONS.hard]};

/* Return loss, probability of each candidate, and gradient with respect to each similarity. */
function computed({similarities, temperature, kind}) {
  const scores = similarities.map(one => one / temperature);
  if (kind === "binary") {
    const probabilities = scores.map(one => 1 / (1 + Math.exp(-one)));
    const softplus = x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
    const loss = scores.reduce((sum, one, place) => sum + softplus(place ? one : -one), 0);
    return {loss, probabilities, gradients: probabilities.map((p, place) => (p - (place ? 0 : 1)) / temperature)};
  }
  const highest = Math.max(...scores);
  const weights = scores.map(one => Math.exp(one - highest));
  const total = weights.reduce((sum, one) => sum + one);
  const probabilities = weights.map(one => one / total);
  const loss = Math.log(total) + highest - scores[0];
  return {loss, probabilities, gradients: probabilities.map((p, place) => (p - (place ? 0 : 1)) / temperature)};
}

function build() {
  const count = state.similarities.length;
  at("candidates").replaceChildren(...state.similarities.map((similarity, place) => {
    const row = document.createElement("li");
    row.className = place ? "row" : "row right";
    row.innerHTML = "<span class=name></span><input type=range min=-1 max=1 step=0.01><output class=number></output>"
      + "<div class=bar><span class=track><i></i></span><span class=number></span></div>"
      + "<div class='bar signed'><span class=track><i></i></span><span class=number></span></div>";
    const slider = row.querySelector("input");
    slider.value = similarity;
    slider.addEventListener("input", () => {
      state.similarities[place] = Number(slider.value);
      state.situation = "own";
      show();
    });
    return row;
  }));
  at("fewer").disabled = count <= FEWEST;
  at("more").disabled = count >= MOST;
  show();
}

function show() {
  const words = TEXT[state.language], found = computed(state), count = state.similarities.length;
  document.documentElement.lang = state.language;
  document.title = words.title;
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = words[one.dataset.text];
  at("language").textContent = state.language === "en" ? "한국어" : "English";
  at("language").lang = state.language === "en" ? "ko" : "en";
  for (const one of at("situations").querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(one.dataset.text === state.situation));
  }
  at("explanation").textContent = words.why[state.situation];
  at("shown").textContent = state.temperature.toFixed(state.temperature < 0.1 ? 3 : 2);
  at("temperature").setAttribute("aria-valuetext", at("shown").textContent);
  const strongest = Math.max(...found.gradients.map(Math.abs), 1e-12);
  [...at("candidates").children].forEach((row, place) => {
    const name = place ? `${words.negative} ${place}` : words.positive;
    const [probability, gradient] = row.querySelectorAll(".bar");
    row.querySelector(".name").textContent = name;
    row.querySelector("input").setAttribute("aria-label", `${name}, ${words.similarity}`);
    row.querySelector("output").textContent = written(state.similarities[place], 2);
    probability.dataset.name = words.probability;
    probability.querySelector("i").style.width = `${100 * found.probabilities[place]}%`;
    probability.querySelector(".number").textContent = `${(100 * found.probabilities[place]).toFixed(1)} %`;
    gradient.dataset.name = words.gradient;
    const length = 50 * Math.abs(found.gradients[place]) / strongest, bar = gradient.querySelector("i");
    bar.style.width = `${length}%`;
    bar.style.left = `${found.gradients[place] < 0 ? 50 - length : 50}%`;
    gradient.querySelector(".number").textContent = written(found.gradients[place], 2);
  });
  const pushes = found.gradients.slice(1), all = pushes.reduce((sum, one) => sum + one, 0);
  const equal = state.kind === "softmax" ? Math.log(count) : computed({...state, similarities: Array(count).fill(0)}).loss;
  at("loss").textContent = found.loss.toFixed(3);
  at("equal").textContent = equal.toFixed(3);
  at("right").textContent = `${(100 * found.probabilities[0]).toFixed(1)} %`;
  at("bound").textContent = written(equal - found.loss, 2);
  at("bound").parentElement.hidden = state.kind !== "softmax";
  at("hardest").textContent = all > 0 ? `${(100 * Math.max(...pushes) / all).toFixed(0)} %` : "–";
  draw(found.loss, equal);
}

/* Draw the loss over the temperature, both as they are now. */
function draw(loss, equal) {
  const left = 34, right = 312, top = 8, bottom = 122;
  const across = t => left + (right - left) * Math.log(t / COLDEST) / Math.log(HOTTEST / COLDEST);
  const places = [...Array(81).keys()].map(step => COLDEST * (HOTTEST / COLDEST) ** (step / 80));
  const losses = places.map(temperature => computed({...state, temperature}).loss);
  const most = Math.min(Math.max(...losses, equal, loss) * 1.05, 6 * equal);
  const up = value => bottom - (bottom - top) * Math.min(value / most, 1);
  const line = places.map((t, step) => `${across(t).toFixed(1)},${up(losses[step]).toFixed(1)}`).join(" ");
  const ticks = [0.02, 0.1, 0.5, 2].map(t => `<line x1=${across(t)} x2=${across(t)} y1=${bottom} y2=${bottom + 4}
    stroke=currentColor /><text x=${across(t)} y=${bottom + 16} text-anchor=middle>${t}</text>`).join("");
  at("curve").innerHTML = `<line x1=${left} x2=${right} y1=${bottom} y2=${bottom} stroke=currentColor />
    <line x1=${left} x2=${left} y1=${top} y2=${bottom} stroke=currentColor />${ticks}
    <text x=${left - 5} y=${bottom + 3} text-anchor=end>0</text>
    <text x=${left - 5} y=${up(equal) + 4} text-anchor=end>${equal.toFixed(1)}</text>
    <line x1=${left} x2=${right} y1=${up(equal)} y2=${up(equal)} stroke=currentColor stroke-dasharray="3 3" opacity=.6 />
    <polyline points="${line}" fill=none stroke="var(--accent)" stroke-width=2 />
    <circle cx=${across(state.temperature)} cy=${up(loss)} r=4.5 fill="var(--accent)" />
    <text x=${right} y=${bottom + 16} text-anchor=end dx=14>τ</text>`;
  at("curve").setAttribute("aria-label", `${TEXT[state.language].curve}: ${loss.toFixed(3)}`);
}

at("language").addEventListener("click", () => {
  state.language = state.language === "en" ? "ko" : "en";
  show();
});
at("temperature").addEventListener("input", event => {
  state.temperature = COLDEST * (HOTTEST / COLDEST) ** (Number(event.target.value) / 200);
  show();
});
at("kind").addEventListener("change", event => {
  state.kind = event.target.value;
  show();
});
for (const one of at("situations").querySelectorAll("button")) {
  one.addEventListener("click", () => {
    state.situation = one.dataset.text;
    state.similarities = [...SITUATIONS[state.situation]];
    build();
  });
}
at("fewer").addEventListener("click", () => {
  state.similarities.pop();
  build();
});
at("more").addEventListener("click", () => {
  state.similarities.push(0);
  build();
});
if (new URLSearchParams(location.search).get("lang") === "ko") state.language = "ko";
at("temperature").value = Math.round(200 * Math.log(state.temperature / COLDEST) / Math.log(HOTTEST / COLDEST));
build();
window.contrast = {state, computed};
