/**
 * `/docs/socket`: the frames of the socket as `/asyncapi.json` has them, in tables that people can
 * read.
 *
 * The document says everything; here is only how it is laid out. Built of nodes, never of HTML
 * text.
 *
 * @import { Child } from '../ui/widgets/dom.js'
 */
import { h } from '../ui/widgets/dom.js';

/** @typedef {any} Schema a JSON Schema of the document */
/** @typedef {Record<string, Schema>} Types by name */
/** @typedef {{ messages: Record<string, any>, schemas: Types }} Components */

const root = /** @type {HTMLElement} */ (document.getElementById('socket'));

/** Prose with words in backticks, as the comments in the source have them. */
const prose = (text = '') => text.split('`').map((part, n) => (n % 2 === 0 ? part : h('code', { text: part })));

/** @param {string} reference */
const nameOf = (reference) => reference.split('/').pop() ?? '';

/**
 * The kind of a schema in a few words; types that have a name lead to it.
 *
 * @param {Schema} schema
 * @returns {Child[]}
 */
function kind(schema) {
  if (schema === true || schema === undefined) return ['anything'];
  if (schema.$ref) return [h('a', { href: `#type-${nameOf(schema.$ref)}`, text: nameOf(schema.$ref) })];
  if (schema.const !== undefined) return [h('code', { text: JSON.stringify(schema.const) })];
  if (schema.enum)
    return between(
      schema.enum.map((/** @type {unknown} */ value) => h('code', { text: JSON.stringify(value) })),
      ' | ',
    );
  const choice = schema.oneOf ?? schema.anyOf;
  if (choice) return between(choice.map(kind), ' or ');
  if (schema.allOf) return between(schema.allOf.map(kind), ' and ');
  const types = [schema.type ?? 'anything'].flat();
  /** @type {Child[]} */
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

/**
 * @param {Child[]} parts
 * @param {string} word
 * @returns {Child[]}
 */
const between = (parts, word) => parts.flatMap((part, n) => (n === 0 ? [part] : [word, part]));

/**
 * All fields of an object, those of what it is made from too.
 *
 * @param {Schema} schema
 * @param {Types} types
 * @returns {{ name: string, value: Schema, required: boolean }[]}
 */
function fieldsOf(schema, types) {
  const own = Object.entries(schema.properties ?? {}).map(([name, value]) => ({
    name,
    value,
    required: (schema.required ?? []).includes(name),
  }));
  /** @type {Schema[]} */
  const all = schema.allOf ?? [];
  const parts = all.map((part) => (part.$ref ? types[nameOf(part.$ref)] : part));
  return [...parts.flatMap((part) => fieldsOf(part ?? {}, types)), ...own];
}

/**
 * @param {Schema} schema
 * @param {Types} types
 */
function table(schema, types) {
  const fields = fieldsOf(schema, types);
  if (fields.length === 0) return h('p', {}, kind(schema));
  /** @param {(typeof fields)[number]} field */
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

/** @param {unknown} payload */
const example = (payload) => h('pre', { tabIndex: 0 }, h('code', { text: JSON.stringify(payload, null, 2) }));

/**
 * @param {string} title
 * @param {string} lead
 * @param {string[]} keys of messages
 * @param {string} prefix
 * @param {Components} components
 */
function section(title, lead, keys, prefix, { messages, schemas }) {
  /** @param {string} key */
  const one = (key) => {
    const message = messages[key];
    return h(
      'article',
      { id: key },
      h('h3', {}, h('code', { text: message.name })),
      h('p', {}, prose(message.summary)),
      table(message.payload, schemas),
      (message.examples ?? []).map((/** @type {{ payload: unknown }} */ { payload }) => example(payload)),
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

/** @param {any} asyncapi */
function draw(asyncapi) {
  /** @type {Components} */
  const { messages, schemas } = asyncapi.components;
  /**
   * @param {string} operation
   * @returns {string[]}
   */
  const keys = (operation) =>
    asyncapi.operations[operation].messages.map((/** @type {{ $ref: string }} */ { $ref }) => nameOf($ref));
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
    h('h1', { text: asyncapi.info.title }),
    h('p', {}, prose(`${asyncapi.info.description} Version ${asyncapi.info.version}.`)),
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
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  const response = await fetch('/asyncapi.json');
  if (!response.ok) throw new Error(`status ${response.status}`);
  draw(await response.json());
} catch (error) {
  root.replaceChildren(h('p', { role: 'alert', text: `The document could not be read: ${error.message}.` }));
}
