// Signs in as a device with openid-client: node openid_client.mjs FOLDER SERVICE CLIENT SCOPE [ALGORITHM]
// Prints the answer to the start on one line, and the answer with the token on the next. With the algorithm of a
// key, it binds its session to one, and prints the answers to two requests with it.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, service, id, scope, algorithm] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const client = await import(pathToFileURL(require.resolve("openid-client")));

const config = await client.discovery(new URL(service), id, undefined, client.None(), {
  algorithm: "oauth2",
  execute: [client.allowInsecureRequests],
});
const started = await client.initiateDeviceAuthorization(config, { scope });
console.log(JSON.stringify(started));
const key = algorithm && (await client.randomDPoPKeyPair(algorithm));
const options = key && { DPoP: client.getDPoPHandle(config, key) };
const tokens = await client.pollDeviceAuthorizationGrant(config, started, undefined, options);
console.log(JSON.stringify(tokens));
for (const path of options ? ["/films", "/me"] : []) {
  const answer = await client.fetchProtectedResource(
    config,
    tokens.access_token,
    new URL(path, service),
    "GET",
    undefined,
    undefined,
    options,
  );
  console.log(JSON.stringify({ status: answer.status, text: await answer.text() }));
}
