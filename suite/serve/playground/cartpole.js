import { DEFAULT, predict } from "./api.js";

// The cart and the pole of Barto, Sutton and Anderson (1983), with Gymnasium's constants in SI units.
const [GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, FORCE, TIME_STEP] = [9.8, 1.0, 0.1, 0.5, 10, 0.02];
const [MAX_POSITION, MAX_ANGLE] = [2.4, (12 * Math.PI) / 180];
const PUSH = 0.35; // radians per second that a push of the user adds to the pole's speed

// The default signature, if it is a policy that was trained on this environment.
export function findSignature({ about, signatures }) {
  return signatures.find(
    ({ name, inputs, outputs }) =>
      name === DEFAULT &&
      about.config?.environment === "CartPole-v1" &&
      inputs.length === 1 &&
      inputs[0].name === "observation" &&
      outputs.some((output) => output.name === "action"),
  );
}

export function begin(section, model, signature, showError) {
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
        state = nextState(state, action);
        steps += 1;
        // A policy that has the value of every action takes the best.
        const best = value === undefined ? "" : `, value ${Math.max(...[value].flat()).toFixed(2)}`;
        output.textContent = `Step ${steps}${best}`;
      } catch (error) {
        showError(error);
        return stop();
      }
      if (Math.abs(state[0]) > MAX_POSITION || Math.abs(state[2]) > MAX_ANGLE) {
        output.textContent = `It fell after ${steps} steps.`;
        draw(canvas, state);
        reset();
        await new Promise((done) => setTimeout(done, 1000));
      }
      draw(canvas, state);
      const milliseconds = 1000 * TIME_STEP - (performance.now() - start);
      await new Promise((done) => setTimeout(done, Math.max(milliseconds, 0)));
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

// The state after one step of Euler's method.
function nextState([x, speed, angle, angularSpeed], action) {
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  const mass = CART_MASS + POLE_MASS;
  const poleMoment = POLE_MASS * HALF_LENGTH;
  const withoutPole = ((action ? FORCE : -FORCE) + poleMoment * angularSpeed ** 2 * sin) / mass;
  const angularAcceleration =
    (GRAVITY * sin - cos * withoutPole) / (HALF_LENGTH * (4 / 3 - (POLE_MASS * cos ** 2) / mass));
  const acceleration = withoutPole - (poleMoment * angularAcceleration * cos) / mass;
  return [
    x + TIME_STEP * speed,
    speed + TIME_STEP * acceleration,
    angle + TIME_STEP * angularSpeed,
    angularSpeed + TIME_STEP * angularAcceleration,
  ];
}

function draw(canvas, [x, , angle]) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  const center = width / 2 + (x / MAX_POSITION) * (width / 2 - 40);
  const ink = getComputedStyle(canvas).color;
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 2;
  pen.strokeRect(-2, height - 30, width + 4, 0);
  pen.fillRect(center - 35, height - 60, 70, 30);
  pen.strokeStyle = "#2563eb";
  pen.lineWidth = 10;
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(center, height - 60);
  pen.lineTo(center + 130 * Math.sin(angle), height - 60 - 130 * Math.cos(angle));
  pen.stroke();
}
