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

function told(details) {
  const { value, reason, variant, errorCode, flagMetadata } = details;
  return { value, reason, variant: variant ?? null, error: errorCode ?? null, metadata: flagMetadata };
}

async function server({ url, key, cases }) {
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

async function web({ url, key, cases, watch }) {
  const { OpenFeature, ProviderEvents } = require('@openfeature/web-sdk');
  const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');
  const provider = new OFREPWebProvider({ baseUrl: url, cacheMode: 'disabled', headers: [['X-API-Key', key]] });
  await OpenFeature.setContext(cases[0].context);
  await OpenFeature.setProviderAndWait(provider);
  const client = OpenFeature.getClient();
  const answers = [];
  let last = JSON.stringify(cases[0].context);
  for (const one of cases) {
    if (JSON.stringify(one.context) !== last) {
      last = JSON.stringify(one.context);
      await OpenFeature.setContext(one.context);
    }
    answers.push(told(client[RESOLVERS[one.type]](one.key, one.default)));
  }
  if (watch) {
    const changed = new Promise((resolve) => client.addHandler(ProviderEvents.ConfigurationChanged, resolve));
    process.stderr.write('ready\n');
    const event = await changed;
    answers.push({ flagsChanged: event.flagsChanged });
    for (const one of cases) answers.push(told(client[RESOLVERS[one.type]](one.key, one.default)));
  }
  await OpenFeature.close();
  return answers;
}

const asked = JSON.parse(readFileSync(0, 'utf8'));
(asked.provider === 'web' ? web : server)(asked).then(
  (answers) => { process.stdout.write(JSON.stringify(answers) + '\n', () => process.exit(0)); },
  (error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); },
);
