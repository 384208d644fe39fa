// Asks the unmodified web provider; the same in Node and in a browser, which hand in the modules as they load them.

const RESOLVERS = {
  boolean: 'getBooleanDetails', string: 'getStringDetails', integer: 'getNumberDetails', number: 'getNumberDetails',
  object: 'getObjectDetails',
};

export function told(details) {
  const { value, reason, variant, errorCode, flagMetadata } = details;
  return { value, reason, variant: variant ?? null, error: errorCode ?? null, metadata: flagMetadata };
}

// `modules` has OpenFeature, ProviderEvents and OFREPWebProvider; `ready` is called once a change is waited for.
export async function web(modules, { url, key, cases, watch }, ready) {
  const { OpenFeature, ProviderEvents, OFREPWebProvider } = modules;
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
    await ready();
    const event = await changed;
    answers.push({ flagsChanged: event.flagsChanged });
    for (const one of cases) answers.push(told(client[RESOLVERS[one.type]](one.key, one.default)));
  }
  await OpenFeature.close();
  return answers;
}
