// Passkeys in a page. `prefix` is where the routes of portcullis are mounted, with the address of the service if the
// page has another origin. Each function returns the JSON of the answer. It throws an error with a `code` if the service
// has refused, and the error of the browser if the person has cancelled (`NotAllowedError`) or nothing fits.
export function passkeys(prefix = "/auth") {
  const browser = globalThis.PublicKeyCredential;
  const supported = Boolean(browser?.parseRequestOptionsFromJSON);

  async function send(method, path, body) {
    const answer = await fetch(prefix + path, {
      method,
      credentials: "include",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const data = await answer.json();
    if (answer.ok) return data;
    throw Object.assign(new Error(data.detail ?? data.title), data);
  }
  const post = (path, body) => send("POST", path, body);

  // What the browser does with a signal must not change the result. Browsers that do not know signals ignore them.
  async function signal(name, value) {
    try {
      await browser[name]?.(value);
    } catch {
      // The browser knows nothing of this domain.
    }
  }

  // Tells the browser which passkeys work. Pass it the `signals` of an answer.
  async function tell(signals) {
    if (!signals) return;
    await signal("signalAllAcceptedCredentials", signals.allAcceptedCredentials);
    await signal("signalCurrentUserDetails", signals.currentUserDetails);
  }

  const forget = (rpId, credentialId) => signal("signalUnknownCredential", { rpId, credentialId });

  async function get(path, body, more) {
    if (!supported) throw new Error("this browser has no passkeys");
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
      if (error.code === "unknown_credential") await forget(options.rpId, credential.id);
      throw error;
    }
  }

  async function add(path, name, more) {
    if (!supported) throw new Error("this browser has no passkeys");
    const { options } = await post(path);
    const publicKey = browser.parseCreationOptionsFromJSON(options);
    const credential = (await navigator.credentials.create({ publicKey, ...more })).toJSON();
    try {
      const answer = await post("/passkeys", { name, credential });
      await tell(answer.signals);
      return answer;
    } catch (error) {
      // The service does not know it, for example because of its name. So nothing must offer it.
      if (error.code !== "passkey_already_added") await forget(options.rp.id, credential.id);
      throw error;
    }
  }

  return {
    supported,
    tell,
    // For a button.
    signIn: (remember) => signIn({}, remember),
    // Call it once when the page with the field for the name is shown. The field has the attribute
    // autocomplete="username webauthn". It goes on until somebody chooses a passkey there or the signal is aborted.
    // Abort it before anything else signs in.
    async signInFromField(signal, remember) {
      if (!supported || !(await browser.isConditionalMediationAvailable?.())) return undefined;
      for (;;) {
        // A challenge can be answered for five minutes.
        const renew = AbortSignal.timeout(4 * 60 * 1000);
        try {
          return await signIn({ mediation: "conditional", signal: AbortSignal.any([signal, renew]) }, remember);
        } catch (error) {
          if (signal.aborted || !(renew.aborted || error.code === "passkey_challenge_ended")) throw error;
        }
      }
    },
    add: (name) => add("/passkeys/challenge", name, {}),
    // Call it within a minute after a sign-in with a password. Nothing is shown, and an error means nothing.
    async addByBrowser(name) {
      const can = supported && (await browser.getClientCapabilities?.())?.conditionalCreate;
      return can ? add("/passkeys/challenge/conditional", name, { mediation: "conditional" }) : undefined;
    },
    async remove(id) {
      const answer = await send("DELETE", `/passkeys/${id}`);
      await tell(answer.signals);
      return answer;
    },
    // The second step of a sign-in.
    async secondStep(trustDevice) {
      const { credential } = await get("/second-factor/challenge", { method: "passkey" });
      return post("/second-factor/verify", { credential, trust_device: trustDevice });
    },
    // Proves the passkey again in a session.
    async stepUp() {
      const { credential } = await get("/reauthenticate/challenge", { method: "passkey" });
      return post("/reauthenticate", { credential });
    },
  };
}
