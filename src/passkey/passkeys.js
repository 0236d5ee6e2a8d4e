// Passkeys in a page. `prefix` is where the routes of portcullis are mounted.
// Each function returns the JSON of the answer, or throws an error with its `code`.
export function passkeys(prefix = "/auth") {
  const browser = globalThis.PublicKeyCredential;

  async function post(path, body) {
    const answer = await fetch(prefix + path, {
      method: "POST",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const data = await answer.json();
    if (answer.ok) return data;
    throw Object.assign(new Error(data.detail), data);
  }

  // Tells the browser which passkeys work. Browsers that do not know this ignore it.
  async function tell(signals) {
    if (!signals) return;
    await browser.signalAllAcceptedCredentials?.(signals.allAcceptedCredentials);
    await browser.signalCurrentUserDetails?.(signals.currentUserDetails);
  }

  async function get(path, body, more) {
    const { options } = await post(path, body);
    const publicKey = browser.parseRequestOptionsFromJSON(options);
    return { options, credential: (await navigator.credentials.get({ publicKey, ...more })).toJSON() };
  }

  async function signIn(more, remember) {
    const { options, credential } = await get("/login/passkey/challenge", {}, more);
    try {
      const answer = await post("/login/passkey", { credential, remember });
      await tell(answer.signals);
      return answer;
    } catch (error) {
      if (error.code === "unknown_credential") {
        await browser.signalUnknownCredential?.({ rpId: options.rpId, credentialId: credential.id });
      }
      throw error;
    }
  }

  async function add(path, name, more) {
    const { options } = await post(path);
    const publicKey = browser.parseCreationOptionsFromJSON(options);
    const credential = await navigator.credentials.create({ publicKey, ...more });
    const answer = await post("/passkeys", { name, credential: credential.toJSON() });
    await tell(answer.signals);
    return answer;
  }

  return {
    // For a button.
    signIn: (remember) => signIn({}, remember),
    // Call it once when the page with the field for the name is shown. The field has the attribute
    // autocomplete="username webauthn". Abort it before `signIn`.
    signInFromField: async (signal, remember) =>
      (await browser?.isConditionalMediationAvailable?.())
        ? signIn({ mediation: "conditional", signal }, remember)
        : undefined,
    add: (name) => add("/passkeys/challenge", name, {}),
    // Call it right after a sign-in with a password. Nothing is shown, and an error means nothing.
    addByBrowser: async (name) =>
      (await browser?.getClientCapabilities?.())?.conditionalCreate
        ? add("/passkeys/challenge/conditional", name, { mediation: "conditional" })
        : undefined,
    // The second step of a sign-in.
    secondStep: async () => {
      const { credential } = await get("/second-factor/challenge", { method: "passkey" });
      return post("/second-factor/verify", { credential });
    },
    // Proves the passkey again in a session.
    stepUp: async () => {
      const { credential } = await get("/reauthenticate/challenge", { method: "passkey" });
      return post("/reauthenticate", { credential });
    },
  };
}
