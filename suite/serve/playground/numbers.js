import { answerIn } from "./answer.js";
import { predict, predictInputs } from "./api.js";

const INTEGER = /^u?int\d+$/;

// A signature of integers whose inputs and outputs are all scalars or batches of scalars.
export function findSignature({ signatures }) {
  return signatures.find(
    ({ inputs, outputs }) =>
      inputs.length &&
      inputs.every(({ type, shape }) => INTEGER.test(type) && shape && String(shape) === (shape.length ? "-1" : "")) &&
      outputs.every(({ shape }) => shape && shape.length < 2),
  );
}

export function begin(section, model, signature, showError) {
  const form = section.querySelector("form");
  const answer = answerIn(section.querySelector(".answer"), model, signature);
  const batched = signature.inputs.every(({ shape }) => shape.length);
  const inputs = signature.inputs.map(({ name, type }) => {
    const label = Object.assign(document.createElement("label"), { textContent: `${name} ` });
    // JavaScript's numbers have 15 exact digits.
    const pattern = type.startsWith("u") ? "[0-9]{1,15}" : "-?[0-9]{1,15}";
    const input = Object.assign(document.createElement("input"), { name, pattern, value: 1, required: true });
    input.inputMode = "numeric";
    label.append(input);
    return label;
  });
  form.prepend(...inputs);

  async function update(event) {
    event?.preventDefault();
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, Number(value)]));
    try {
      answer.fill(await (batched ? predict : predictInputs)(model, signature, values));
    } catch (error) {
      showError(error);
    }
  }
  form.addEventListener("submit", update);
  return update();
}
