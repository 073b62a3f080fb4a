import { bear, signatures } from "./api.js";

// Each module shows one application in the section of its name.
const MODULES = {
  mnist_cnn: "./mnist_cnn.js",
  binary_addition: "./binary_addition.js",
  vae: "./latent.js",
  dcgan: "./latent.js",
  a2c: "./a2c.js",
  iris: "./iris.js",
};

const state = document.getElementById("state");
const entrance = document.getElementById("entrance");

async function show(name) {
  const found = await signatures(name);
  const section = document.getElementById(name);
  const { begin } = await import(MODULES[name]);
  section.hidden = false;
  const say = (error) => {
    state.textContent = `${name}: ${error.message}`;
    state.className = "failed";
  };
  await begin(section, found, say);
}

async function enter() {
  const shown = await Promise.allSettled(Object.keys(MODULES).map(show));
  const closed = shown.some((each) => each.reason?.status === 401);
  const count = shown.filter((each) => each.status === "fulfilled").length;
  entrance.hidden = !closed;
  state.textContent = closed
    ? "This server wants a token."
    : count
      ? `${count} of ${shown.length} applications are exported.`
      : "No application is exported: python -m apps.mnist_cnn makes one.";
}

entrance.addEventListener("submit", (event) => {
  event.preventDefault();
  bear(new FormData(entrance).get("token"));
  enter();
});

enter();
