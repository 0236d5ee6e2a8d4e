// Signs in as a device with openid-client: node openid_client.mjs FOLDER SERVICE CLIENT SCOPE
// Prints the answer to the start on one line, and the answer with the token on the next.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, service, id, scope] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const client = await import(pathToFileURL(require.resolve("openid-client")));

const config = await client.discovery(new URL(service), id, undefined, client.None(), {
  algorithm: "oauth2",
  execute: [client.allowInsecureRequests],
});
const started = await client.initiateDeviceAuthorization(config, { scope });
console.log(JSON.stringify(started));
const tokens = await client.pollDeviceAuthorizationGrant(config, started);
console.log(JSON.stringify(tokens));
