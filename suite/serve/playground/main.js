import { describe, modelNames, setToken } from "./api.js";
import * as cartpole from "./cartpole.js";
import * as features from "./features.js";
import * as json from "./json.js";
import * as latent from "./latent.js";
import * as numbers from "./numbers.js";
import * as picture from "./picture.js";
import * as text from "./text.js";

// A model gets the first panel that supports one of its signatures; `json` supports any. A panel exports
// `findSignature(model)`, which returns a signature of the model or undefined, and `begin(section, model,
// signature, showError)`, which fills the section from its template. `model` is what `describe` returns.
const PANELS = { picture, latent, cartpole, features, numbers, text, json };

const main = document.querySelector("main");
const nav = document.querySelector("nav");
const state = document.getElementById("state");
const entrance = document.getElementById("entrance");

async function show(name) {
  const showError = (error) => {
    state.textContent = `${name}: ${error.message}`;
    state.className = "failed";
  };
  try {
    const model = await describe(name);
    const candidates = Object.entries(PANELS).map(([kind, panel]) => [kind, panel.findSignature(model)]);
    const [kind, signature] = candidates.find(([, signature]) => signature) ?? [];
    if (!kind) return;
    const section = Object.assign(document.createElement("section"), { id: name });
    section.append(Object.assign(document.createElement("h2"), { textContent: name }));
    section.append(document.getElementById(`${kind}-panel`).content.cloneNode(true));
    main.append(section);
    nav.append(Object.assign(document.createElement("a"), { href: `#${encodeURIComponent(name)}`, textContent: name }));
    await PANELS[kind].begin(section, model, signature, showError);
  } catch (error) {
    showError(error);
  }
}

async function enter() {
  main.replaceChildren();
  nav.replaceChildren();
  state.className = "";
  entrance.hidden = true;
  try {
    const names = await modelNames();
    state.textContent = names.length
      ? `${names.length} ${names.length === 1 ? "model answers" : "models answer"} here.`
      : "No model answers yet: python -m apps.<app> makes one.";
    for (const name of names) await show(name); // one by one, which keeps their order
  } catch (error) {
    entrance.hidden = error.status !== 401;
    state.textContent = error.status === 401 ? "This server wants a token." : error.message;
  }
}

entrance.addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(new FormData(entrance).get("token"));
  enter();
});

enter();
