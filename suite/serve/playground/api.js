// Requests to the server's public REST interface.

export const DEFAULT = "serving_default";

let token = "";

export function setToken(value) {
  token = value;
}

// Sends a request, by GET without a body, and returns the JSON of the response.
async function request(path, body, type = "application/json") {
  const headers = body === undefined ? {} : { "Content-Type": type };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(`/v1/models${path}`, { method: body === undefined ? "GET" : "POST", body, headers });
  const answer = parsed(await response.text());
  if (!response.ok || !answer) {
    throw Object.assign(new Error(answer?.error ?? response.statusText), { status: response.status });
  }
  return answer;
}

// The JSON of a text, in which numbers that are not finite become null; undefined if it is no JSON.
function parsed(text) {
  const finite = text.replace(/("(?:[^"\\]|\\.)*")|NaN|-?Infinity/g, (_, string) => string ?? "null");
  try {
    return JSON.parse(finite);
  } catch {
    return undefined;
  }
}

// The names of the models that answer.
export async function modelNames() {
  const answers = ({ model_version_status: versions }) => versions.some(({ state }) => state === "AVAILABLE");
  return (await request("")).models.filter(answers).map(({ name }) => name);
}

// A model's name, the metadata of its training as `about`, and its signatures, the default first.
export async function describe(name) {
  const { signature_def: { signature_def: definitions }, suite: about } = (await request(`/${name}/metadata`)).metadata;
  const signatures = Object.entries(definitions)
    .filter(([key]) => !key.startsWith("__"))
    .map(([key, { inputs, outputs }]) => ({ name: key, inputs: tensors(inputs), outputs: tensors(outputs) }))
    .sort((one, other) => (other.name === DEFAULT) - (one.name === DEFAULT));
  return { name, about: about ?? {}, signatures };
}

// Names, types and shapes. A size of -1 stands for any size; an unknown rank gives a null shape.
function tensors(definitions) {
  return Object.entries(definitions).map(([name, { dtype, tensor_shape: { dim, unknown_rank: unknown } }]) => ({
    name,
    type: dtype.replace("DT_", "").toLowerCase(),
    shape: unknown ? null : dim.map(({ size }) => Number(size)),
  }));
}

// The outputs for one example, by name.
export async function predict(model, signature, example) {
  const { predictions: [answer] } = await send(model, { signature_name: signature.name, instances: [example] });
  return byName(signature, answer);
}

// The outputs of a signature for inputs in its own shapes, by name.
export async function predictInputs(model, signature, inputs) {
  const { outputs } = await send(model, { signature_name: signature.name, inputs });
  return byName(signature, outputs);
}

// The outputs for a file of a picture, by name. The server finds the signature that takes it.
export async function predictPicture(model, signature, file) {
  const { predictions: [answer] } = await request(`/${model.name}:predict`, file, file.type || "image/*");
  return byName(signature, answer);
}

// The answer to a body of JSON.
export function send(model, body) {
  return request(`/${model.name}:predict`, JSON.stringify(body));
}

// Outputs by name; the server sends a single output without its name.
function byName({ outputs }, answer) {
  return outputs.length === 1 ? { [outputs[0].name]: answer } : answer;
}

// Wraps an async function so that calls do not overlap: of the calls during one, only the last runs.
export function latest(work) {
  let next = null, busy = false;
  return async (...parameters) => {
    next = parameters;
    if (busy) return;
    busy = true;
    try {
      while (next) {
        const current = next;
        next = null;
        await work(...current);
      }
    } finally {
      busy = false;
    }
  };
}
