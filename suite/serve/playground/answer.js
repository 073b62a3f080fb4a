// Shows the outputs of a model for one example: the class, a bar for each class, other outputs.

const CLASSIFIER_OUTPUTS = ["name", "label", "probabilities", "logits", "next"];

// Puts an empty answer into an element, and returns functions that fill and clear it.
export function answerIn(element, { about }, { outputs }) {
  const names = about.class_names ?? [];
  const list = Object.assign(document.createElement("ol"), { className: "bars", ariaLabel: "Probability of each class" });
  const line = document.createElement("output");
  const more = document.createElement("dl");
  element.replaceChildren(line, list, more);
  const size = outputs.find(({ name }) => name === "probabilities")?.shape?.at(-1) ?? 0;
  const grow = (count) => {
    for (let n = list.children.length; n < count; n++) list.append(bar(names[n] ?? n));
  };
  grow(size);

  function clear() {
    line.textContent = "";
    more.replaceChildren();
    for (const { lastChild, children: [, meter], classList } of list.children) {
      meter.value = 0;
      lastChild.textContent = "";
      classList.remove("best");
    }
  }

  // Fills in what a classifier may leave out: the label from the probabilities, the name from the metadata.
  // The classes of a language model are the tokens that may come next. Outputs that are no class are listed below.
  function fill(answer) {
    const { probabilities, next, label = probabilities?.indexOf(Math.max(...probabilities)) } = answer;
    const classes = next?.map(JSON.stringify) ?? names;
    const name = answer.name ?? classes[label] ?? label;
    line.textContent = name === undefined ? "" : probabilities ? `${name}, ${percent(probabilities[label])}` : name;
    grow(probabilities?.length ?? 0);
    probabilities?.forEach((share, n) => {
      const { firstChild, lastChild, children: [, meter], classList } = list.children[n];
      firstChild.textContent = classes[n] ?? n;
      meter.value = share;
      lastChild.textContent = percent(share);
      classList.toggle("best", n === label);
    });
    const others = Object.entries(answer).filter(([key]) => name === undefined || !CLASSIFIER_OUTPUTS.includes(key));
    more.replaceChildren(...others.flatMap(([key, value]) => [cell("dt", key), cell("dd", text(value))]));
  }
  return { fill, clear };
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;

function bar(name) {
  const item = document.createElement("li");
  item.append(cell("span", name), Object.assign(document.createElement("meter"), { max: 1 }), cell("span", ""));
  return item;
}

function cell(tag, content) {
  return Object.assign(document.createElement(tag), { textContent: content });
}

function text(value) {
  if (typeof value === "string") return value;
  const round = (_, item) => (Number.isInteger(item) || typeof item !== "number" ? item : Number(item.toPrecision(4)));
  const json = JSON.stringify(value, round);
  return json.length > 300 ? `${json.slice(0, 300)}…` : json;
}
