// Calls the routes and shows their answers. The session cookie is HttpOnly: the browser sends it, but
// this script cannot read it.
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

// The text of an error. Errors are RFC 9457 JSON: `detail` is for people, `code` is stable, and
// `errors` has a list of reasons for each field of a form: `code` and `params` for a page that translates,
// `message` in English.
function errorText({ status, body }) {
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
  if (!answer.ok) parts.push(element("p", errorText(answer)));
  // A picture is shown elsewhere, and is too long as a text.
  const short = (name, value) => (name === "qr_svg" ? "<svg …>" : value);
  const text = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body, short, 2);
  if (text.trim()) parts.push(element("pre", text));
  find("#answer").replaceChildren(...parts);
}

// Shows the error text above the button, and the error of each field below the field.
function showProblem(form, answer) {
  const errors = (!answer.ok && answer.body.errors) || {};
  let first;
  for (const input of form.elements) {
    const place = input.id && document.getElementById(`${input.id}-error`);
    if (!place) continue;
    place.textContent = (errors[input.name] ?? []).map((reason) => reason.message).join("; ");
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
    problem.textContent = answer.ok ? "" : errorText(answer);
  }
  first?.focus();
}

// Asks for the digits that an answer requires. A picture takes three answers, but another one is often easier to
// read, so each refusal brings a new one.
async function showCaptcha(form, { body }) {
  const place = find(".captcha", form);
  if (!place) return;
  place.replaceChildren();
  place.hidden = true;
  if (!body.captcha) return;
  const { action } = body.captcha;
  const { ok, body: offer } = await call("POST", "/auth/captcha", { action });
  if (!ok) return;
  const shown = find("#captcha").content.cloneNode(true);
  const input = find("[name=captcha]", shown);
  input.id = `${form.id}-captcha`;
  find("label", shown).htmlFor = input.id;
  find("[name=captcha_id]", shown).value = offer.captcha_id;
  find("img", shown).src = `/auth/${offer.image}`;
  find("audio", shown).src = `/auth/${offer.audio}`;
  place.append(shown);
  place.hidden = false;
  input.focus();
}

async function showWho() {
  const { ok, body } = await call("GET", "/public");
  const signedIn = ok && body.signed_in;
  find("#who").textContent = signedIn ? `Signed in as ${body.hello}` : "Not signed in";
  find("#visitor").hidden = signedIn;
  find("#member").hidden = !signedIn;
  if (signedIn) await showPasskeys();
}

// Passkeys. The module is served by the service, and calls the routes.
const passkey = import("/passkeys.js").then(({ passkeys }) => passkeys());

async function showPasskeys() {
  const { ok, body } = await call("GET", "/auth/passkeys");
  const items = (ok ? body.passkeys : []).map(({ id, name, last_used_at: used }) => {
    const item = element("li", `${name}, ${used ? `last used ${used}` : "not used yet"} `);
    const remove = element("button", "Remove");
    remove.type = "button";
    remove.dataset.remove = id;
    item.append(remove);
    return item;
  });
  find("#passkey-list").replaceChildren(...items);
}

// Shows what became of a ceremony. Errors of portcullis have a code in words. The browser itself refuses if the person
// has cancelled, or if no passkey fits.
async function ceremony(form, name, work) {
  const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
  for (const button of buttons) button.disabled = true;
  let answer;
  try {
    answer = { ok: true, status: 200, body: await work(await passkey) };
  } catch (error) {
    const refused = typeof error.code === "string";
    const body = refused ? error : { detail: `The browser has refused: ${error.message}` };
    answer = { ok: false, status: error.status ?? "refused by the browser", body };
  }
  for (const button of buttons) button.disabled = false;
  show(name, "with a passkey", answer);
  showProblem(form, answer);
  await askAgain(form, answer, () => ceremony(form, name, work));
  if (!answer.ok) return;
  find("#second").hidden = answer.body.result !== "second_factor_required";
  if (!find("#second").hidden) await showSecondStep(answer.body);
  await showWho();
  if (form.closest("[hidden]")) find("#who").focus();
}

for (const button of document.querySelectorAll("[data-passkey]")) {
  button.addEventListener("click", () => {
    const name = button.dataset.passkey;
    const { form } = button;
    const remember = form.id === "login" ? form.elements.remember.checked : undefined;
    ceremony(form, name, (passkey) => passkey[name](remember));
  });
}

find("#passkey-list").addEventListener("click", ({ target }) => {
  const { remove } = target.dataset;
  if (remove) ceremony(find("#passkeys"), "remove", (passkey) => passkey.remove(remove));
});

for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.id === "passkeys") {
      const { name } = Object.fromEntries(new FormData(form));
      await ceremony(form, "add", (passkey) => passkey.add(name));
      return;
    }
    const { method } = form.dataset;
    const fields = Object.fromEntries(new FormData(form));
    const remember = find("[name=remember]", form);
    if (remember) fields.remember = remember.checked;
    // Puts fields that occur in the path there, and all others into the body.
    const path = form.dataset.path.replace(/\{(\w+)\}/g, (_, name) => {
      const value = encodeURIComponent(fields[name]);
      delete fields[name];
      return value;
    });
    // Leaves out optional fields that are empty.
    for (const name of form.id === "link" ? ["email", "password"] : ["email"]) {
      if (fields[name] === "") delete fields[name];
    }
    const button = find("button:not([type])", form);
    button.disabled = true;
    if (form.id === "totp") fields.qr = true;
    if (form.id === "again") prepareProof(form, fields);
    // A code that was sent needs its method. A recovery code is longer, and needs none.
    if (form.id === "second" && form.dataset.codeMethod && fields.code.length < 20) fields.method = form.dataset.codeMethod;
    const answer = await call(method, path, Object.keys(fields).length ? fields : undefined);
    button.disabled = false;
    show(method, path, answer);
    showProblem(form, answer);
    await askAgain(form, answer);
    await showCaptcha(form, answer);
    if (answer.ok) {
      form.reset();
      if (form.id === "link" || form.id === "code") showNextStep(answer);
      if (form.id === "totp") showSeed(answer.body);
      if (form.id === "totp-confirm") form.hidden = true;
      find("#second").hidden = answer.body.result !== "second_factor_required";
      if (!find("#second").hidden) await showSecondStep(answer.body);
      await showWho();
      // The form may be hidden now, so keyboard users continue at the top.
      if (form.closest("[hidden]")) find("#who").focus();
    }
  });
}

// Asks for the code of the second step. If the account has no authenticator, a code is mailed.
async function showSecondStep({ methods }) {
  const second = find("#second");
  const names = methods.map(({ method }) => method);
  second.dataset.codeMethod = names.includes("mailed_code") && !names.includes("totp") ? "mailed_code" : "";
  let text = "Type a code of your authenticator app, or a recovery code.";
  const byPasskey = names.includes("passkey");
  if (byPasskey) text = "Use your passkey, or type a code.";
  if (second.dataset.codeMethod && !byPasskey) {
    const sent = await call("POST", "/auth/second-factor/challenge", { method: "mailed_code" });
    text = sent.ok ? `Type the code that was mailed to ${sent.body.target}. Here it is on the terminal.` : errorText(sent);
  }
  const onlyPasskey = byPasskey && names.length === 1;
  if (onlyPasskey) text = "Use your passkey.";
  find("[data-passkey]", second).hidden = !byPasskey;
  find("#second-code-field").hidden = onlyPasskey;
  find("button:not([type])", second).hidden = onlyPasskey;
  find("#second-for").textContent = text;
  find(byPasskey ? "[data-passkey]" : "#second-code", second).focus();
}

// A request that was refused because the last proof is too old, until the proof was given. The page
// sends it again: the service stores no request, so nobody can plant one there.
let waits;

// Asks for a proof. The answer names the factors of this account that would help.
async function askAgain(form, { status, body }, repeat = () => form.requestSubmit()) {
  const again = find("#again");
  if (form === again) {
    if (status !== 200) return;
    find("[data-passkey]", again).hidden = true;
    again.hidden = true;
    const next = waits;
    waits = undefined;
    next?.();
    return;
  }
  if (body.code !== "insufficient_user_authentication") return;
  waits = repeat;
  const factors = body.factors ?? [];
  const mailed = factors.includes("mailed_code");
  again.dataset.codeMethod = mailed && !factors.includes("totp") && !factors.includes("password") ? "mailed_code" : "";
  const codes = factors.some((factor) => factor === "totp" || factor === "recovery_code");
  find("#again-password-field").hidden = !factors.includes("password");
  find("#again-code-field").hidden = !codes && !again.dataset.codeMethod;
  let text = codes ? "Type your password or a code of your authenticator app." : "Type your password again.";
  if (codes && !factors.includes("password")) text = "Type a code of your authenticator app.";
  if (again.dataset.codeMethod) {
    const sent = await call("POST", "/auth/reauthenticate/challenge", { method: "mailed_code" });
    text = sent.ok ? `Type the code that was mailed to ${sent.body.target}. Here it is on the terminal.` : errorText(sent);
  }
  const byPasskey = factors.includes("passkey");
  const onlyPasskey = byPasskey && factors.length === 1;
  if (byPasskey) text = onlyPasskey ? "Use your passkey." : `Use your passkey. Or: ${text}`;
  find("[data-passkey]", again).hidden = !byPasskey;
  find("button:not([type])", again).hidden = onlyPasskey;
  find("#again-for").textContent = text;
  again.hidden = false;
  const first = byPasskey ? "[data-passkey]" : ".field:not([hidden]) input";
  find(first, again)?.focus();
}

// The service takes either a password or a code.
function prepareProof(form, fields) {
  for (const name of ["password", "code"]) {
    if (fields[name] === "" || find(`#again-${name}-field`).hidden) delete fields[name];
  }
  if (fields.code) delete fields.password;
  if (fields.code && form.dataset.codeMethod) fields.method = form.dataset.codeMethod;
}

// Shows the seed of a new authenticator, once.
function showSeed({ id, secret, qr_svg: svg }) {
  const form = find("#totp-confirm");
  form.elements.id.value = id;
  find("#totp-secret").textContent = secret;
  find("#totp-qr").src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  form.hidden = false;
  find("#totp-code").focus();
}

find("#routes").addEventListener("click", async ({ target }) => {
  const { path } = target.dataset;
  if (!path) return;
  show("GET", path, await call("GET", path));
  find("#answer").scrollIntoView({ block: "nearest" });
});

// The pages of the links in mails. The token is after the `#`, which the browser sends to no server.
const links = {
  "/verify": ["Confirm your mail address", "/auth/verification/confirm",
    "You can leave it empty in the browser in which you registered. In any other browser you must then set a new password."],
  "/password/reset": ["Set a new password", "/auth/password/reset", "At least 15 characters."],
  "/login/mail": ["Sign in with the link of your mail", "/auth/login/mail/confirm"],
  "/email/confirm": ["Confirm your new mail address", "/auth/email/confirm"],
  "/email/undo": ["Undo the change of your mail address", "/auth/email/undo"],
  "/login-names/confirm": ["Confirm another mail address", "/auth/login-names/confirm"],
  "/login-names/undo": ["Remove the name that was added", "/auth/login-names/undo"],
  "/second-factor/undo": ["Remove the second factor that was added", "/auth/second-factor/undo"],
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
  // Removes the token from the address, so that it is not in the history or in a screenshot.
  history.replaceState(null, "", location.pathname);
}

// What comes after a link or a code. If nobody had proved the address before, the owner of the mailbox
// must set a new password.
function showNextStep({ body }) {
  const form = find("#link");
  const needsPassword = body.result === "password_change_required";
  find("#mailed").hidden = !needsPassword && body.result !== "other_browser";
  if (body.result === "other_browser") {
    find("#link-title").textContent = `Type this code in the browser that asked for the mail: ${body.code}`;
    find("button", form).hidden = true;
  }
  if (!needsPassword) return;
  find("#link-title").textContent = "Set a password";
  find("#link-password-field").hidden = false;
  find("#link-password-hint").textContent = "At least 15 characters.";
  find("#link-password").name = "new_password";
  form.elements.token.disabled = true;
  form.dataset.method = "PUT";
  form.dataset.path = "/auth/password";
}

showLink();
showWho();
