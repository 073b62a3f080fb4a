import { DEFAULT, predict } from "./api.js";

// The cart and the pole of Barto, Sutton and Anderson (1983), with Gymnasium's numbers.
const [GRAVITY, CART, POLE, HALF, FORCE, TAU] = [9.8, 1.0, 0.1, 0.5, 10, 0.02];
const [EDGE, FALLEN, PUSH] = [2.4, (12 * Math.PI) / 180, 0.35];

// A policy that was trained on this environment.
export function suits({ about, signatures }) {
  return signatures.find(
    ({ name, inputs, outputs }) =>
      name === DEFAULT &&
      about.config?.environment === "CartPole-v1" &&
      inputs.length === 1 &&
      inputs[0].name === "observation" &&
      outputs.some((output) => output.name === "action"),
  );
}

export function begin(section, model, signature, say) {
  const canvas = section.querySelector("canvas");
  const [button, output] = ["button", "output"].map((tag) => section.querySelector(tag));
  let state, steps, playing = false;
  const reset = () => {
    state = Array.from({ length: 4 }, () => 0.1 * Math.random() - 0.05);
    steps = 0;
  };
  const push = (direction) => (state[3] += direction * PUSH);

  async function play() {
    while (playing) {
      const start = performance.now();
      try {
        const { action, value } = await predict(model, signature, { observation: state });
        state = moved(state, action);
        steps += 1;
        output.textContent = `Step ${steps}${value === undefined ? "" : `, value ${value.toFixed(2)}`}`;
      } catch (error) {
        say(error);
        return stop();
      }
      if (Math.abs(state[0]) > EDGE || Math.abs(state[2]) > FALLEN) {
        output.textContent = `It fell after ${steps} steps.`;
        draw(canvas, state);
        reset();
        await new Promise((done) => setTimeout(done, 1000));
      }
      draw(canvas, state);
      const left = 1000 * TAU - (performance.now() - start);
      await new Promise((done) => setTimeout(done, Math.max(left, 0)));
    }
  }
  const stop = () => {
    playing = false;
    button.textContent = "Play";
  };
  button.addEventListener("click", () => {
    if (playing) return stop();
    playing = true;
    button.textContent = "Stop";
    play();
  });
  canvas.addEventListener("pointerdown", (event) => push(event.offsetX < canvas.clientWidth / 2 ? -1 : 1));
  canvas.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (direction) {
      push(direction);
      event.preventDefault();
    }
  });
  reset();
  draw(canvas, state);
}

function moved([x, speed, angle, turning], action) {
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  const pushed = ((action ? FORCE : -FORCE) + POLE * HALF * turning ** 2 * sin) / (CART + POLE);
  const bent = (GRAVITY * sin - cos * pushed) / (HALF * (4 / 3 - (POLE * cos ** 2) / (CART + POLE)));
  const pulled = pushed - (POLE * HALF * bent * cos) / (CART + POLE);
  return [x + TAU * speed, speed + TAU * pulled, angle + TAU * turning, turning + TAU * bent];
}

function draw(canvas, [x, , angle]) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  const at = width / 2 + (x / EDGE) * (width / 2 - 40);
  const ink = getComputedStyle(canvas).color;
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 2;
  pen.strokeRect(-2, height - 30, width + 4, 0);
  pen.fillRect(at - 35, height - 60, 70, 30);
  pen.strokeStyle = "#2563eb";
  pen.lineWidth = 10;
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(at, height - 60);
  pen.lineTo(at + 130 * Math.sin(angle), height - 60 - 130 * Math.cos(angle));
  pen.stroke();
}
