import { answerIn } from "./answer.js";
import { predict } from "./api.js";

// A signature whose only input is a batch of texts.
export function findSignature({ signatures }) {
  return signatures.find(
    ({ inputs }) =>
      inputs.length === 1 && inputs[0].name === "text" && inputs[0].type === "string" && inputs[0].shape?.length === 1,
  );
}

export function begin(section, model, signature, showError) {
  const form = section.querySelector("form");
  const field = form.querySelector("textarea");
  const answer = answerIn(section.querySelector(".answer"), model, signature);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      answer.fill(await predict(model, signature, { text: field.value }));
    } catch (error) {
      showError(error);
    }
  });
}
