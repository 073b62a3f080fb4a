import { answerIn } from "./answer.js";
import { DEFAULT, latest, predict, predictPicture } from "./api.js";

const PEN = 22; // pixels of the pen's width
const STEP = 6; // pixels of an arrow key

// A signature of encoded pictures; in an older export, the default one if it takes 28 x 28 grey values.
export function findSignature({ signatures }) {
  const ofFiles = signatures.filter(takesFiles);
  return ofFiles.find(({ name }) => name === "picture") ?? ofFiles[0] ?? signatures.find(takesPixels);
}

const takesFiles = ({ inputs }) => inputs.length === 1 && inputs[0].name === "picture" && inputs[0].type === "string";

const takesPixels = ({ name, inputs, outputs }) =>
  name === DEFAULT &&
  inputs.length === 1 &&
  inputs[0].name === "image" &&
  String(inputs[0].shape) === "-1,28,28,1" &&
  outputs.some((output) => output.name === "probabilities");

export function begin(section, model, signature, showError) {
  const pad = section.querySelector("canvas");
  const ink = pad.getContext("2d", { willReadFrequently: true });
  const hint = section.querySelector(".hint");
  const open = section.querySelector("input");
  const answer = answerIn(section.querySelector(".answer"), model, signature);
  const files = takesFiles(signature);
  open.parentElement.hidden = !files;
  let empty = true;

  const update = latest(async (file) => {
    try {
      const outputs = files
        ? await predictPicture(model, signature, file ?? (await new Promise((done) => pad.toBlob(done))))
        : await predict(model, signature, { image: pixels(pad) });
      if (!empty) answer.fill(outputs); // the pad may have been cleared meanwhile
    } catch (error) {
      showError(error);
    }
  });

  let pen, down;
  const line = (to) => {
    if (down) {
      empty = false;
      ink.beginPath();
      ink.moveTo(...pen);
      ink.lineTo(...to);
      ink.stroke();
      update();
    }
    pen = to;
  };
  const clear = () => {
    ink.fillStyle = "#000";
    ink.fillRect(0, 0, pad.width, pad.height);
    Object.assign(ink, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    [empty, down, pen] = [true, false, [pad.width / 2, pad.height / 2]];
    answer.clear();
  };
  clear();

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
  const inside = (value) => Math.min(Math.max(value, PEN), pad.width - PEN);
  pad.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      down = !down;
      hint.textContent = down ? "The pen is down." : "The pen is up.";
      line(pen);
    } else if (event.key in arrows) {
      const [x, y] = arrows[event.key];
      line([inside(pen[0] + STEP * x), inside(pen[1] + STEP * y)]);
    } else return;
    event.preventDefault();
  });
  section.querySelector("button").addEventListener("click", clear);
  open.addEventListener("change", async () => {
    const [file] = open.files;
    open.value = ""; // so that the same file can be opened again
    if (!file) return;
    clear();
    empty = false;
    try {
      show(ink, await createImageBitmap(file));
    } catch {
      // The browser cannot show the file: the server may accept it, or answers with an error.
    }
    update(file);
  });
}

// Draws a picture into the middle of the pad, as large as possible.
function show(ink, picture) {
  const { width, height } = ink.canvas;
  const scale = Math.min(width / picture.width, height / picture.height);
  const [w, h] = [scale * picture.width, scale * picture.height];
  ink.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
}

// The pad scaled down to 28 x 28 grey values in 0..255.
function pixels(pad) {
  const [width, height] = [28, 28];
  const small = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage(pad, 0, 0, width, height);
  const values = small.getImageData(0, 0, width, height).data;
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => [values[4 * (y * width + x)]]));
}
