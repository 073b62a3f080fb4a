import { predict } from "./api.js";

export function begin(section, signatures, say) {
  const form = section.querySelector("form");
  const output = section.querySelector("output");
  const table = section.querySelector("table");
  const input = Object.keys(signatures.serving_default.inputs)[0];

  async function add(event) {
    event?.preventDefault();
    if (!form.reportValidity()) return;
    const [a, b] = ["a", "b"].map((name) => BigInt(form.elements[name].value));
    const length = Math.max(a.toString(2).length, b.toString(2).length) + 1;
    const bits = (number) => Array.from({ length }, (_, place) => Number((number >> BigInt(place)) & 1n));
    const [of_a, of_b] = [bits(a), bits(b)];
    try {
      const said = await predict("binary_addition", { [input]: [of_a.map((bit, place) => [bit, of_b[place]])] });
      const sum = said.sum_bits.flat(2);
      // What the network must have carried to say so.
      const carry = sum.map((bit, place) => bit ^ of_a[place] ^ of_b[place]);
      const total = sum.reduce((found, bit, place) => found + (BigInt(bit) << BigInt(place)), 0n);
      output.textContent = `${a} + ${b} = ${total}${total === a + b ? "" : ", which is wrong"}`;
      const rows = { carry, a: of_a, b: of_b, sum };
      table.replaceChildren(...Object.entries(rows).map(([name, row]) => line(name, row)));
    } catch (error) {
      say(error);
    }
  }
  form.addEventListener("submit", add);
  return add();
}

function line(name, bits) {
  const row = document.createElement("tr");
  row.className = name;
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  row.append(head);
  for (const bit of [...bits].reverse()) {
    row.insertCell().textContent = name === "carry" && !bit ? "·" : bit;
  }
  return row;
}
