import { latest, predict } from "./api.js";

const REACH = 2.5, STEP = 0.05; // standard deviations at the rim; share of the plane for a key

export function begin(section, signatures, say) {
  section.append(document.getElementById("latent").content.cloneNode(true));
  const plane = section.querySelector(".plane");
  const dot = plane.firstElementChild;
  const canvas = section.querySelector("canvas");
  const name = "decode" in signatures ? "decode" : "serving_default";
  const { inputs, outputs } = signatures[name];
  const [input, { tensor_shape }] = Object.entries(inputs)[0];
  const latentDim = Number(tensor_shape.dim.at(-1).size);
  const image = "image" in outputs ? "image" : Object.keys(outputs)[0];
  let [at, base, axes] = [[0, 0], null, null];

  const draw = latest(async () => {
    const latent = base.map((value, n) => value + REACH * (at[0] * axes[0][n] + at[1] * axes[1][n]));
    try {
      const found = await predict(section.id, { [input]: [latent] }, name);
      paint(canvas, (found[image] ?? found)[0]);
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
  const turn = () => {
    axes = latentDim === 2 ? [[1, 0], [0, 1]] : [0, 1].map(() => Array.from({ length: latentDim }, normal));
    base = Array.from({ length: latentDim }, latentDim === 2 ? () => 0 : () => normal() / 2);
    axes = axes.map((axis) => axis.map((value) => (latentDim === 2 ? value : value / Math.SQRT2)));
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

// Grey values in 0..255, `(height, width, 1)`.
function paint(canvas, rows) {
  canvas.height = rows.length;
  canvas.width = rows[0].length;
  const pixels = new ImageData(canvas.width, canvas.height);
  rows.flat(2).forEach((value, n) => pixels.data.set([value, value, value, 255], 4 * n));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
