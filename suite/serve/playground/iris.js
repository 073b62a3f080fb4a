import { latest, predict } from "./api.js";

const SPECIES = ["setosa", "versicolor", "virginica"];
const COLOURS = ["#60a5fa", "#fbbf24", "#34d399"];
// Least, largest and usual centimetres.
const FEATURES = {
  "sepal length": [4, 8, 5.8],
  "sepal width": [2, 4.5, 3],
  "petal length": [1, 7, 4.3],
  "petal width": [0, 2.5, 1.3],
};
const CELLS = [42, 30];

export function begin(section, signatures, say) {
  const form = section.querySelector("form");
  const output = section.querySelector("output");
  const canvas = section.querySelector("canvas");
  const input = Object.keys(signatures.serving_default.inputs)[0];
  for (const [name, [least, largest, usual]] of Object.entries(FEATURES)) {
    form.insertAdjacentHTML(
      "beforeend",
      `<label>${name} <b></b> cm<input type="range" min="${least}" max="${largest}" step="0.1" value="${usual}"></label>`,
    );
  }
  const sliders = [...form.querySelectorAll("input")];

  const look = latest(async () => {
    const flower = sliders.map((slider) => Number(slider.value));
    sliders.forEach((slider) => (slider.previousElementSibling.textContent = slider.value));
    const [length, width] = [FEATURES["petal length"], FEATURES["petal width"]];
    const along = ([least, largest], n, count) => least + ((n + 0.5) / count) * (largest - least);
    const flowers = [flower];
    for (let row = 0; row < CELLS[1]; row++) {
      for (let column = 0; column < CELLS[0]; column++) {
        flowers.push([flower[0], flower[1], along(length, column, CELLS[0]), along(width, row, CELLS[1])]);
      }
    }
    try {
      const { label: [label, ...labels], probabilities: [found] } = await predict("iris", { [input]: flowers });
      output.textContent = `Iris ${SPECIES[label] ?? label}, ${(100 * found[label]).toFixed(0)} %`;
      const pen = canvas.getContext("2d");
      const [w, h] = [canvas.width / CELLS[0], canvas.height / CELLS[1]];
      labels.forEach((each, n) => {
        pen.fillStyle = COLOURS[each % COLOURS.length];
        pen.fillRect((n % CELLS[0]) * w, canvas.height - (Math.floor(n / CELLS[0]) + 1) * h, w + 1, h + 1);
      });
      const share = (value, [least, largest]) => (value - least) / (largest - least);
      pen.fillStyle = "#000";
      pen.beginPath();
      pen.arc(share(flower[2], length) * canvas.width, (1 - share(flower[3], width)) * canvas.height, 6, 0, 7);
      pen.fill();
    } catch (error) {
      say(error);
    }
  });
  form.addEventListener("input", look);
  return look();
}
