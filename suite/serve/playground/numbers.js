import { answerIn } from "./answer.js";
import { predict, send } from "./api.js";

const INTEGER = /^u?int\d+$/;

// A signature of whole numbers alone, each a scalar or in a batch of them, that answers with numbers.
export function suits({ signatures }) {
  return signatures.find(
    ({ inputs, outputs }) =>
      inputs.length &&
      inputs.every(({ type, shape }) => INTEGER.test(type) && shape && String(shape) === (shape.length ? "-1" : "")) &&
      outputs.every(({ shape }) => shape && shape.length < 2),
  );
}

export function begin(section, model, signature, say) {
  const form = section.querySelector("form");
  const answer = answerIn(section.querySelector(".answer"), model, signature);
  const batched = signature.inputs.every(({ shape }) => shape.length);
  const inputs = signature.inputs.map(({ name, type }) => {
    const label = Object.assign(document.createElement("label"), { textContent: `${name} ` });
    // No more digits than JavaScript's numbers keep.
    const pattern = type.startsWith("u") ? "[0-9]{1,15}" : "-?[0-9]{1,15}";
    const input = Object.assign(document.createElement("input"), { name, pattern, value: 1, required: true });
    input.inputMode = "numeric";
    label.append(input);
    return label;
  });
  form.prepend(...inputs);

  async function look(event) {
    event?.preventDefault();
    const given = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, Number(value)]));
    try {
      answer.fill(batched ? await predict(model, signature, given) : await call(given));
    } catch (error) {
      say(error);
    }
  }
  async function call(inputs) {
    const { outputs } = await send(model, { signature_name: signature.name, inputs });
    return signature.outputs.length === 1 ? { [signature.outputs[0].name]: outputs } : outputs;
  }
  form.addEventListener("submit", look);
  return look();
}
