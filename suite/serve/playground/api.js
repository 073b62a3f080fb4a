// The server's public REST interface, and nothing else.

let token = "";

export function bear(given) {
  token = given;
}

async function ask(path, options = {}) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(`/v1/models/${path}`, { ...options, headers });
  const answer = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(answer.error ?? response.statusText), { status: response.status });
  }
  return answer;
}

// What a model's signatures take and give, by name.
export async function signatures(model) {
  return (await ask(`${model}/metadata`)).metadata.signature_def.signature_def;
}

// The outputs of all inputs together.
export async function predict(model, inputs, signature = "serving_default") {
  const body = JSON.stringify({ signature_name: signature, inputs });
  return (await ask(`${model}:predict`, { method: "POST", body })).outputs;
}

// Calls a function of what was asked for last, never twice at a time.
export function latest(work) {
  let wanted = null, busy = false;
  return async (...what) => {
    wanted = what;
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        const now = wanted;
        wanted = null;
        await work(...now);
      }
    } finally {
      busy = false;
    }
  };
}
