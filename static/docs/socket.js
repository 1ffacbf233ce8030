/**
 * `/docs/socket`: the frames of the socket as `/asyncapi.json` has them, in tables that people can read.
 *
 * The document says everything; here is only how it is laid out. Built of nodes, never of HTML text.
 */
import { h } from '../ui/dom.js';

const root = document.getElementById('socket');

/** Prose with words in backticks, as the comments in the source have them. */
const prose = (text = '') => text.split('`').map((part, n) => (n % 2 === 0 ? part : h('code', { text: part })));

const nameOf = (reference) => reference.split('/').pop();

/** The kind of a schema in a few words; types that have a name lead to it. */
function kind(schema) {
  if (schema === true || schema === undefined) return ['anything'];
  if (schema.$ref) return [h('a', { href: `#type-${nameOf(schema.$ref)}`, text: nameOf(schema.$ref) })];
  if (schema.const !== undefined) return [h('code', { text: JSON.stringify(schema.const) })];
  if (schema.enum)
    return between(
      schema.enum.map((value) => h('code', { text: JSON.stringify(value) })),
      ' | ',
    );
  const choice = schema.oneOf ?? schema.anyOf;
  if (choice) return between(choice.map(kind), ' or ');
  if (schema.allOf) return between(schema.allOf.map(kind), ' and ');
  const types = [schema.type ?? 'anything'].flat();
  const words = types.map((type) => (type === 'array' ? ['array of ', kind(schema.items)] : [type]));
  const limits = [
    schema.format,
    schema.minLength !== undefined && `at least ${schema.minLength} characters`,
    schema.maxLength !== undefined && `at most ${schema.maxLength} characters`,
    schema.minimum !== undefined && `from ${schema.minimum}`,
    schema.maximum !== undefined && `to ${schema.maximum}`,
    schema.pattern && `like ${schema.pattern}`,
  ].filter(Boolean);
  return [between(words, ' or '), limits.length > 0 ? ` (${limits.join(', ')})` : ''];
}

const between = (parts, word) => parts.flatMap((part, n) => (n === 0 ? [part] : [word, part]));

/** All fields of an object, those of what it is made from too. */
function fieldsOf(schema, types) {
  const own = Object.entries(schema.properties ?? {}).map(([name, value]) => ({
    name,
    value,
    required: (schema.required ?? []).includes(name),
  }));
  const parts = (schema.allOf ?? []).map((part) => (part.$ref ? types[nameOf(part.$ref)] : part));
  return [...parts.flatMap((part) => fieldsOf(part ?? {}, types)), ...own];
}

function table(schema, types) {
  const fields = fieldsOf(schema, types);
  if (fields.length === 0) return h('p', {}, kind(schema));
  const row = ({ name, value, required }) =>
    h(
      'tr',
      {},
      h('td', {}, h('code', { text: name }), required ? null : h('span', { class: 'optional', text: ' optional' })),
      h('td', {}, kind(value)),
      h('td', {}, prose(value.description)),
    );
  const head = h(
    'tr',
    {},
    ['field', 'type', 'meaning'].map((text) => h('th', { scope: 'col', text })),
  );
  return h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, head), h('tbody', {}, fields.map(row))));
}

const example = (payload) => h('pre', { tabIndex: 0 }, h('code', { text: JSON.stringify(payload, null, 2) }));

function section(title, lead, keys, prefix, { messages, schemas }) {
  const one = (key) => {
    const message = messages[key];
    return h(
      'article',
      { id: key },
      h('h3', {}, h('code', { text: message.name })),
      h('p', {}, prose(message.summary)),
      table(message.payload, schemas),
      (message.examples ?? []).map(({ payload }) => example(payload)),
    );
  };
  const index = keys.map((key) => h('a', { href: `#${key}` }, h('code', { text: messages[key].name })));
  return h(
    'section',
    { id: prefix },
    h('h2', { text: title }),
    h('p', {}, prose(lead)),
    h('p', { class: 'index' }, between(index, ' ')),
    keys.map(one),
  );
}

function draw(document) {
  const { messages, schemas } = document.components;
  const keys = (operation) => document.operations[operation].messages.map(({ $ref }) => nameOf($ref));
  const parts = { messages, schemas };
  const types = Object.entries(schemas).map(([name, schema]) =>
    h(
      'article',
      { id: `type-${name}` },
      h('h3', {}, h('code', { text: name })),
      h('p', {}, prose(schema.description)),
      table(schema, schemas),
    ),
  );
  root.replaceChildren(
    h('h1', { text: document.info.title }),
    h('p', {}, prose(`${document.info.description} Version ${document.info.version}.`)),
    section(
      'What a client sends',
      'Each frame is answered once, by a frame with its `ref`.',
      keys('clientFrames'),
      'client',
      parts,
    ),
    section(
      'What the server sends',
      'Unknown types are to be ignored: there will be more.',
      keys('serverFrames'),
      'server',
      parts,
    ),
    h('section', { id: 'types' }, h('h2', { text: 'Types' }), types),
  );
  // The browser looked for the fragment before there was anything to find.
  if (location.hash) globalThis.document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  const answer = await fetch('/asyncapi.json');
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  draw(await answer.json());
} catch (error) {
  root.replaceChildren(h('p', { role: 'alert', text: `The document could not be read: ${error.message}.` }));
}
