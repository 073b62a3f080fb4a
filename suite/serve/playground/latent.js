import { latest, predict } from "./api.js";

const REACH = 2.5; // standard deviations from the middle of the plane to its edge; on a random plane, to its corner
const STEP = 0.05; // of an arrow key, where the plane reaches from -1 to 1

// A signature from one latent vector to an image.
export function findSignature({ signatures }) {
  return signatures.find(
    ({ inputs, outputs }) =>
      inputs.length === 1 &&
      inputs[0].name === "latent" &&
      inputs[0].shape?.at(-1) > 0 &&
      outputs.some(({ name, shape }) => name === "image" && shape?.length === 4),
  );
}

export function begin(section, model, signature, showError) {
  const plane = section.querySelector(".plane");
  const dot = plane.firstElementChild;
  const canvas = section.querySelector("canvas");
  const length = signature.inputs[0].shape.at(-1);
  let [point, origin, axes] = [[0, 0], null, null];

  const draw = latest(async () => {
    const latent = origin.map((value, n) => value + REACH * (point[0] * axes[0][n] + point[1] * axes[1][n]));
    try {
      paint(canvas, (await predict(model, signature, { latent })).image);
    } catch (error) {
      showError(error);
    }
  });
  const moveTo = (x, y) => {
    point = [x, y].map((value) => Math.min(Math.max(value, -1), 1));
    dot.style.left = `${50 + 50 * point[0]}%`;
    dot.style.top = `${50 + 50 * point[1]}%`;
    return draw();
  };
  // A plane of two random directions from a random point; a space of two dimensions is the plane.
  const choosePlane = () => {
    const isPlane = length === 2;
    axes = isPlane ? [[1, 0], [0, 1]] : [0, 1].map(() => Array.from({ length }, () => normal() / Math.SQRT2));
    origin = Array.from({ length }, () => (isPlane ? 0 : normal() / 2));
    return moveTo(0, 0);
  };
  const follow = (event) => {
    const box = plane.getBoundingClientRect();
    moveTo((2 * (event.clientX - box.left)) / box.width - 1, (2 * (event.clientY - box.top)) / box.height - 1);
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
    moveTo(point[0] + STEP * x, point[1] + STEP * y);
    event.preventDefault();
  });
  section.querySelector("button").addEventListener("click", choosePlane);
  return choosePlane();
}

// A random number of the standard normal distribution, by the method of Box and Muller.
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// Draws an image `(height, width, channels)` of values in 0..255: grey, or red, green and blue.
function paint(canvas, rows) {
  canvas.height = rows.length;
  canvas.width = rows[0].length;
  const pixels = new ImageData(canvas.width, canvas.height);
  rows.flat().forEach(([red, green = red, blue = red], n) => pixels.data.set([red, green, blue, 255], 4 * n));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
