// Requests to the server. A refused request throws a `Refused` with the reason that the server has given.

export class Refused extends Error {
  constructor(message, status, retryAfter = null, details = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.details = details;
  }
}

export async function getJson(path, options = {}) {
  return (await request(path, options)).json();
}

export async function postJson(path, data, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(data), ...options });
}

export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused("no connection to the server; is `sori serve` still running?", 0);
  }
  if (!response.ok) throw refusal(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

// Send a file; XMLHttpRequest, because `fetch` does not tell how much has been sent.
export function upload(path, file, { onProgress = () => {}, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    sending.setRequestHeader("Content-Type", "application/octet-stream");
    sending.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sending.onload = () => {
      if (sending.status < 300) resolve(JSON.parse(sending.responseText));
      else reject(refusal(sending.status, sending.responseText, sending.getResponseHeader("Retry-After")));
    };
    sending.onerror = () => reject(new Refused("the connection was lost while the file was being sent", 0));
    sending.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal?.addEventListener("abort", () => sending.abort());
    sending.send(file);
  });
}

function refusal(status, body, retryAfter) {
  let message = `the server answered with status ${status}`;
  let details = null;
  try {
    const { error } = JSON.parse(body);
    message = error.message ?? message;
    details = error.details ?? null;
  } catch {
    // not the server's own answer
  }
  return new Refused(message, status, retryAfter === null ? null : Number(retryAfter), details);
}
