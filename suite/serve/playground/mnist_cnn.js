import { latest, predict } from "./api.js";

const SIZE = 28, INNER = 20, PEN = 22, STEP = 6;

export function begin(section, signatures, say) {
  const pad = section.querySelector("canvas");
  const ink = pad.getContext("2d", { willReadFrequently: true });
  const output = section.querySelector("output");
  const bars = section.querySelector("ol");
  for (let digit = 0; digit < 10; digit++) {
    bars.insertAdjacentHTML("beforeend", '<li><meter max="1"></meter> <span></span></li>');
  }
  ink.lineWidth = PEN;
  ink.lineCap = ink.lineJoin = "round";
  ink.strokeStyle = "#fff";

  const look = latest(async () => {
    const image = digit(ink);
    if (!image) return;
    try {
      const { probabilities: [found], label: [label] } = await predict("mnist_cnn", { [input]: [image] });
      if (!digit(ink)) return; // cleared in the meantime
      [...bars.children].forEach((bar, digit) => {
        bar.firstChild.value = found[digit];
        bar.lastChild.textContent = `${(100 * found[digit]).toFixed(0)} %`;
        bar.className = digit === label ? "best" : "";
      });
      output.textContent = `This is a ${label}.`;
    } catch (error) {
      say(error);
    }
  });
  const input = Object.keys(signatures.serving_default.inputs)[0];

  let pen = [140, 140], down = false;
  const line = (to) => {
    if (down) {
      ink.beginPath();
      ink.moveTo(...pen);
      ink.lineTo(...to);
      ink.stroke();
      look();
    }
    pen = to;
  };
  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    pen = place(event);
    down = true;
    line(pen);
  });
  pad.addEventListener("pointermove", (event) => down && line(place(event)));
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (down = false));

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  pad.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      down = !down;
      output.textContent = down ? "The pen is down." : "The pen is up.";
      line(pen);
    } else if (event.key in arrows) {
      const [x, y] = arrows[event.key];
      line([clamp(pen[0] + STEP * x), clamp(pen[1] + STEP * y)]);
    } else return;
    event.preventDefault();
  });
  section.querySelector("button").addEventListener("click", () => {
    ink.clearRect(0, 0, pad.width, pad.height);
    pen = [140, 140];
    down = false;
    output.textContent = "";
    for (const bar of bars.children) {
      bar.firstChild.value = 0;
      bar.lastChild.textContent = "";
      bar.className = "";
    }
  });
}

const clamp = (value) => Math.min(Math.max(value, PEN), 280 - PEN);

// The drawing as MNIST has its digits: fitted into 20 x 20 pixels, the centre of its mass in the middle.
function digit(ink) {
  const { width, height } = ink.canvas;
  const alpha = ink.getImageData(0, 0, width, height).data;
  let [left, top, right, bottom, mass, x0, y0] = [width, height, -1, -1, 0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = alpha[4 * (y * width + x) + 3];
      if (!value) continue;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      mass += value;
      x0 += value * x;
      y0 += value * y;
    }
  }
  if (!mass) return null;
  const scale = INNER / Math.max(right - left + 1, bottom - top + 1);
  const small = Object.assign(document.createElement("canvas"), { width: SIZE, height: SIZE }).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.translate(SIZE / 2 - (scale * x0) / mass, SIZE / 2 - (scale * y0) / mass);
  small.scale(scale, scale);
  small.drawImage(ink.canvas, 0, 0);
  const values = small.getImageData(0, 0, SIZE, SIZE).data;
  return Array.from({ length: SIZE }, (_, y) => Array.from({ length: SIZE }, (_, x) => [values[4 * (y * SIZE + x) + 3]]));
}
