import { latest, predict } from "./api.js";

const REACH = 2.5, STEP = 0.05; // standard deviations at the rim; share of the plane for a key

// A signature from one latent vector to an image.
export function suits({ signatures }) {
  return signatures.find(
    ({ inputs, outputs }) =>
      inputs.length === 1 &&
      inputs[0].name === "latent" &&
      inputs[0].shape?.at(-1) > 0 &&
      outputs.some(({ name, shape }) => name === "image" && shape?.length === 4),
  );
}

export function begin(section, model, signature, say) {
  const plane = section.querySelector(".plane");
  const dot = plane.firstElementChild;
  const canvas = section.querySelector("canvas");
  const length = signature.inputs[0].shape.at(-1);
  let [at, base, axes] = [[0, 0], null, null];

  const draw = latest(async () => {
    const latent = base.map((value, n) => value + REACH * (at[0] * axes[0][n] + at[1] * axes[1][n]));
    try {
      paint(canvas, (await predict(model, signature, { latent })).image);
    } catch (error) {
      say(error);
    }
  });
  const go = (x, y) => {
    at = [x, y].map((value) => Math.min(Math.max(value, -1), 1));
    dot.style.left = `${50 + 50 * at[0]}%`;
    dot.style.top = `${50 + 50 * at[1]}%`;
    return draw();
  };
  // Two random directions from a random point; of two latents, the plane that they are.
  const turn = () => {
    const flat = length === 2;
    axes = flat ? [[1, 0], [0, 1]] : [0, 1].map(() => Array.from({ length }, () => normal() / Math.SQRT2));
    base = Array.from({ length }, () => (flat ? 0 : normal() / 2));
    return go(0, 0);
  };
  const follow = (event) => {
    const box = plane.getBoundingClientRect();
    go((2 * (event.clientX - box.left)) / box.width - 1, (2 * (event.clientY - box.top)) / box.height - 1);
  };
  plane.addEventListener("pointerdown", (event) => {
    plane.setPointerCapture(event.pointerId);
    follow(event);
  });
  plane.addEventListener("pointermove", (event) => event.buttons && follow(event));
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  plane.addEventListener("keydown", (event) => {
    if (!(event.key in arrows)) return;
    const [x, y] = arrows[event.key];
    go(at[0] + STEP * x, at[1] + STEP * y);
    event.preventDefault();
  });
  section.querySelector("button").addEventListener("click", turn);
  return turn();
}

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// Values in 0..255, `(height, width, channels)`: grey, or red, green and blue.
function paint(canvas, rows) {
  canvas.height = rows.length;
  canvas.width = rows[0].length;
  const pixels = new ImageData(canvas.width, canvas.height);
  rows.flat().forEach(([red, green = red, blue = red], n) => pixels.data.set([red, green, blue, 255], 4 * n));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
