// NocoDB without a page, on loopback. Wants node >= 22; its data goes into the working folder.
// env: NOCODB_HOME, the folder with node_modules. argv: the file descriptor to write its port to; "delete"
// deletes the working folder at the end of standard input.
import { createRequire } from 'node:module';
import fs from 'node:fs';
import path from 'node:path';

const require = createRequire(path.join(process.env.NOCODB_HOME, 'package.json'));
const express = require('express');
const { Noco } = require('nocodb');

const app = express();
const server = app.listen(0, '127.0.0.1');
server.setTimeout(0);
app.use(await Noco.init({}, server, app));
fs.writeSync(Number(process.argv[2]), `${server.address().port}\n`);
process.on('SIGTERM', () => process.exit(0));
process.stdin.on('end', () => { // the tests have ended
  if (process.argv[3] === 'delete') fs.rmSync(process.cwd(), { recursive: true, force: true });
  process.exit(0);
}).resume();
