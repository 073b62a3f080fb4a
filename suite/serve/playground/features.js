import { answerIn } from "./answer.js";
import { DEFAULT, latest, predict } from "./api.js";

// The default signature, if its only input is a row of named numbers.
export function findSignature({ about, signatures }) {
  const { feature_names: names } = about;
  return signatures.find(
    ({ name, inputs }) =>
      name === DEFAULT &&
      names?.length &&
      inputs.length === 1 &&
      inputs[0].type !== "string" &&
      inputs[0].shape?.length === 2 &&
      inputs[0].shape[1] === names.length,
  );
}

export function begin(section, model, signature, showError) {
  const form = section.querySelector("form");
  const answer = answerIn(section.querySelector(".answer"), model, signature);
  const { feature_names: names, feature_ranges: ranges } = model.about;
  const inputs = names.map((name, n) => {
    const label = Object.assign(document.createElement("label"), { textContent: `${name} ` });
    const input = ranges?.[n] ? slider(ranges[n]) : number();
    label.append(document.createElement("b"), input);
    form.append(label);
    return input;
  });

  const update = latest(async () => {
    for (const input of inputs) {
      if (input.type === "range") input.previousElementSibling.textContent = Number(input.value);
    }
    if (!form.checkValidity()) return;
    try {
      const row = inputs.map((input) => Number(input.value));
      answer.fill(await predict(model, signature, { [signature.inputs[0].name]: row }));
    } catch (error) {
      showError(error);
    }
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  return update();
}

// A slider over a range, in about a hundred steps of a power of ten.
function slider([least, most]) {
  const step = 10 ** Math.floor(Math.log10((most - least) / 50 || 1));
  const input = Object.assign(document.createElement("input"), { type: "range", min: least, max: most, step });
  input.value = (least + most) / 2;
  return input;
}

function number() {
  return Object.assign(document.createElement("input"), { type: "number", step: "any", value: 1, required: true });
}
