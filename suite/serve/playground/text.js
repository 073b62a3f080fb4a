import { answerIn } from "./answer.js";
import { DEFAULT, predictInputs } from "./api.js";

const NUMBER = /^(u?int\d+|float|double|half|bfloat16)$/;
const INTEGER = /^u?int/;
// Where a number of a text generator begins; others begin with 1.
const BEGINNING = { length: 100, top_k: 40 };

const isText = ({ name, type }) => type === "string" && name !== "picture";
const hasOneValue = ({ shape }) => shape && String(shape) === (shape.length ? "-1" : "");

// A signature of one text or several, perhaps with numbers beside them; all scalars or batches of scalars.
const asksForText = ({ inputs }) =>
  inputs.some(isText) && inputs.every((input) => hasOneValue(input) && (isText(input) || NUMBER.test(input.type)));

export function findSignature({ signatures }) {
  return signatures.find(asksForText);
}

// The section has a field for every input; where the model has several such signatures, the user chooses one.
export function begin(section, model, first, showError) {
  const form = section.querySelector("form");
  const [select, button] = [form.querySelector("select"), form.querySelector("button")];
  const fields = form.querySelector(".fields");
  // An export of the suite has its default signature by the name `serve`, too.
  const signatures = model.signatures.filter(
    (signature) => asksForText(signature) && !(first.name === DEFAULT && signature.name === "serve"),
  );
  select.append(...signatures.map(({ name }) => new Option(name)));
  select.parentElement.hidden = signatures.length === 1;
  let answer;

  const choose = () => {
    const signature = signatures[select.selectedIndex];
    fields.replaceChildren(...signature.inputs.map(field));
    answer = answerIn(section.querySelector(".answer"), model, signature);
  };
  select.addEventListener("change", choose);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const signature = signatures[select.selectedIndex];
    const filled = answer; // another signature may be chosen before the answer comes
    const inputs = signature.inputs.map((input, n) => {
      const control = fields.children[n].lastChild;
      const value = isText(input) ? control.value : control.valueAsNumber;
      return [input.name, input.shape.length ? [value] : value];
    });
    button.disabled = true;
    try {
      const outputs = await predictInputs(model, signature, Object.fromEntries(inputs));
      filled.fill(Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, onlyRow(value)])));
    } catch (error) {
      showError(error);
    } finally {
      button.disabled = false;
    }
  });
  choose();
}

// A label with the field of an input in it.
function field(input) {
  const label = Object.assign(document.createElement("label"), { textContent: `${input.name} ` });
  const control = isText(input)
    ? Object.assign(document.createElement("textarea"), { rows: 3 })
    : Object.assign(document.createElement("input"), {
        type: "number",
        step: INTEGER.test(input.type) ? 1 : "any",
        value: BEGINNING[input.name] ?? 1,
        required: true,
      });
  label.append(control);
  return label;
}

// The row of a batch of one; anything else as it is.
function onlyRow(value) {
  return Array.isArray(value) && value.length === 1 ? value[0] : value;
}
