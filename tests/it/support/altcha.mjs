// Solves a challenge with altcha-lib, and prints what its widget would put into the form.
// Usage: node altcha.mjs FOLDER CHALLENGE
import { pathToFileURL } from "node:url";

const [folder, challenge] = process.argv.slice(2);
const library = pathToFileURL(`${folder}/node_modules/altcha-lib/dist/esm/v2/`);
const { solveChallenge } = await import(new URL("index.js", library));
const { deriveKey } = await import(new URL("algorithms/pbkdf2.js", library));

const parsed = JSON.parse(challenge);
const solution = await solveChallenge({ challenge: parsed, deriveKey });
console.log(btoa(JSON.stringify({ challenge: parsed, solution })));
