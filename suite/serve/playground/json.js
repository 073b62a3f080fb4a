import { send } from "./api.js";

const MAX_VALUES = 2000; // of an example; a longer one is not shown

// The first signature: this panel is for models that no other panel supports.
export function findSignature({ signatures }) {
  return signatures[0];
}

export function begin(section, model, signature, showError) {
  const form = section.querySelector("form");
  const [select, body] = [form.querySelector("select"), form.querySelector("textarea")];
  const [inputList, outputList] = section.querySelectorAll("dd");
  const answer = section.querySelector("pre");
  select.append(...model.signatures.map(({ name }) => new Option(name)));

  const choose = () => {
    const { inputs, outputs } = model.signatures[select.selectedIndex];
    inputList.textContent = inputs.map(describeTensor).join("\n");
    outputList.textContent = outputs.map(describeTensor).join("\n");
    body.value = JSON.stringify(Object.fromEntries(inputs.map((input) => [input.name, example(input)])));
    answer.textContent = "";
  };
  select.addEventListener("change", choose);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { outputs } = await send(model, { signature_name: select.value, inputs: JSON.parse(body.value) });
      answer.textContent = JSON.stringify(outputs);
    } catch (error) {
      showError(error);
    }
  });
  choose();
}

// Name, type and shape, such as `x float (any, 2)`.
function describeTensor({ name, type, shape }) {
  const sizes = shape?.map((size) => (size < 0 ? "any" : size)).join(", ") ?? "any shape";
  return `${name} ${type} (${sizes})`;
}

// An example that fits the input; an empty list if it would be too long to read.
function example({ type, shape }) {
  const sizes = (shape ?? []).map((size) => Math.max(size, 1));
  if (sizes.reduce((product, size) => product * size, 1) > MAX_VALUES) return [];
  const value = { string: "text", bool: false }[type] ?? 1;
  return sizes.reduceRight((inner, size) => Array.from({ length: size }, () => inner), value);
}
