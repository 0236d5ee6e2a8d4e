// Calls the routes and shows what they say. The session cookie is HttpOnly: the browser sends it,
// this script never sees it.
"use strict";

const find = (selector, inside = document) => inside.querySelector(selector);

async function call(method, path, body) {
  const options = { method };
  if (body) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(path, options);
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    return { ok: response.ok, status: response.status, body: isJson ? JSON.parse(text) : text };
  } catch {
    return { ok: false, status: 0, body: { detail: "The service does not answer. Is it still running?" } };
  }
}

// What went wrong, in words. Problems are RFC 9457 JSON: `detail` is for people, `code` is stable,
// `errors` names the fields of a form.
function inWords({ status, body }) {
  const sentence = body.detail ?? body.title ?? `The service answered ${status}`;
  return body.code ? `${sentence} (${body.code})` : sentence;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function show(method, path, answer) {
  const title = element("p", `${method} ${path} → ${answer.status || "no answer"}`, answer.ok ? "good" : "bad");
  const parts = [title];
  if (!answer.ok) parts.push(element("p", inWords(answer)));
  const text = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body, null, 2);
  if (text.trim()) parts.push(element("pre", text));
  find("#answer").replaceChildren(...parts);
}

// The sentence goes above the button, the reason of a field below the field.
function showProblem(form, answer) {
  const errors = (!answer.ok && answer.body.errors) || {};
  let first;
  for (const input of form.elements) {
    const place = input.id && document.getElementById(`${input.id}-error`);
    if (!place) continue;
    place.textContent = errors[input.name] ?? "";
    if (input.name in errors) {
      input.setAttribute("aria-invalid", "true");
      first ??= input;
    } else {
      input.removeAttribute("aria-invalid");
    }
  }
  const problem = find(".problem", form);
  if (problem) {
    problem.hidden = answer.ok;
    problem.textContent = answer.ok ? "" : inWords(answer);
  }
  first?.focus();
}

async function showWho() {
  const { ok, body } = await call("GET", "/public");
  const signedIn = ok && body.signed_in;
  find("#who").textContent = signedIn ? `Signed in as ${body.hello}` : "Nobody is signed in";
  find("#visitor").hidden = signedIn;
  find("#member").hidden = !signedIn;
}

for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { method } = form.dataset;
    const fields = Object.fromEntries(new FormData(form));
    const remember = find("[name=remember]", form);
    if (remember) fields.remember = remember.checked;
    // Fields that the path names go there, the others into the body.
    const path = form.dataset.path.replace(/\{(\w+)\}/g, (_, name) => {
      const value = encodeURIComponent(fields[name]);
      delete fields[name];
      return value;
    });
    // What need not be said is left out.
    for (const name of form.id === "link" ? ["email", "password"] : ["email"]) {
      if (fields[name] === "") delete fields[name];
    }
    const button = find("button", form);
    button.disabled = true;
    const answer = await call(method, path, Object.keys(fields).length ? fields : undefined);
    button.disabled = false;
    show(method, path, answer);
    showProblem(form, answer);
    if (answer.ok) {
      form.reset();
      if (form.id === "link") goOn(form, answer);
      await showWho();
      // The form may be hidden now; whoever uses the keyboard goes on from the top.
      if (form.closest("[hidden]")) find("#who").focus();
    }
  });
}

find("#routes").addEventListener("click", async ({ target }) => {
  const { path } = target.dataset;
  if (!path) return;
  show("GET", path, await call("GET", path));
  find("#answer").scrollIntoView({ block: "nearest" });
});

// Where the links in mails lead. The token stands behind the `#`, which is sent to no server.
const links = {
  "/verify": ["Confirm your mail address", "/auth/verification/confirm",
    "In the browser that registered it can be left empty. Anywhere else: without it a new one has to be set."],
  "/password/reset": ["Set a new password", "/auth/password/reset", "At least 15 characters."],
  "/email/confirm": ["Confirm your new mail address", "/auth/email/confirm"],
  "/email/undo": ["Take back the change of your mail address", "/auth/email/undo"],
  "/login-names/confirm": ["Confirm another mail address", "/auth/login-names/confirm"],
  "/login-names/undo": ["Remove the name that was added", "/auth/login-names/undo"],
};

function showLink() {
  const link = links[location.pathname];
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!link || !token) return;
  const [title, path, hint] = link;
  const form = find("#link");
  find("#link-title").textContent = title;
  form.dataset.path = path;
  form.elements.token.value = token;
  find("#link-password-field").hidden = !hint;
  find("#link-password-hint").textContent = hint ?? "";
  find("#mailed").hidden = false;
  // Neither the history nor a screenshot needs it any more.
  history.replaceState(null, "", location.pathname);
}

// An account that is taken over by whoever has the mailbox needs a password of its new owner.
function goOn(form, { body }) {
  if (body.result !== "password_change_required") {
    find("#mailed").hidden = true;
    return;
  }
  find("#link-title").textContent = "Set a password";
  find("#link-password-hint").textContent = "At least 15 characters.";
  find("#link-password").name = "new_password";
  form.elements.token.disabled = true;
  form.dataset.method = "PUT";
  form.dataset.path = "/auth/password";
}

showLink();
showWho();
