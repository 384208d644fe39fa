// Asks an unmodified OpenFeature OFREP provider what it is told on stdin, and writes what it answers to stdout.
//
//   {"provider": "server" | "web", "url", "key", "cases": [{key, type, default, context}]}
//
// For "web" with "watch": true it says "ready" on stderr after the first answers, waits for one
// ConfigurationChanged event, and answers the cases again.
'use strict';
const { readFileSync } = require('node:fs');

const RESOLVERS = {
  boolean: 'getBooleanDetails', string: 'getStringDetails', integer: 'getNumberDetails', number: 'getNumberDetails',
  object: 'getObjectDetails',
};

async function server({ url, key, cases }) {
  const { told } = await import('./web.mjs');
  const { OpenFeature } = require('@openfeature/server-sdk');
  const { OFREPProvider } = require('@openfeature/ofrep-provider');
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers: [['Authorization', `Bearer ${key}`]] }));
  const client = OpenFeature.getClient();
  const answers = [];
  for (const one of cases) {
    answers.push(told(await client[RESOLVERS[one.type]](one.key, one.default, one.context)));
  }
  return answers;
}

async function web(asked) {
  const { OpenFeature, ProviderEvents } = require('@openfeature/web-sdk');
  const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');
  const shared = await import('./web.mjs');
  return shared.web({ OpenFeature, ProviderEvents, OFREPWebProvider }, asked, () => process.stderr.write('ready\n'));
}

const asked = JSON.parse(readFileSync(0, 'utf8'));
(asked.provider === 'web' ? web : server)(asked).then(
  (answers) => { process.stdout.write(JSON.stringify(answers) + '\n', () => process.exit(0)); },
  (error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); },
);
