// A certified provider on loopback: node oidc_provider.mjs FOLDER PORT REDIRECT_URI LOGOUT_URI ALGORITHM
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, port, redirect, logout, algorithm] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const jose = await import(pathToFileURL(require.resolve("jose")));

const { privateKey } = await jose.generateKeyPair(algorithm, { extractable: true });
const key = { ...(await jose.exportJWK(privateKey)), kid: "one", use: "sig", alg: algorithm };
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  clients: [
    {
      client_id: "our client",
      client_secret: "a secret of the service",
      redirect_uris: [redirect],
      id_token_signed_response_alg: algorithm,
      backchannel_logout_uri: logout || undefined,
      backchannel_logout_session_required: logout ? true : undefined,
      require_auth_time: true,
    },
  ],
  cookies: { keys: ["a key of the tests"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  pkce: { required: () => true },
  // It does not ask private addresses either. Here is no other one.
  fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: id }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
