/**
 * What eslint holds the page's code and its tests to. `scripts/page.sh check` runs it.
 *
 * The packages are those of tests/browser, which the tests need too, so that there is one lock
 * file.
 */
import { createRequire } from 'node:module';

const require = createRequire(new URL('./tests/browser/package.json', import.meta.url));
const js = require('@eslint/js');
const globals = require('globals');

/** Whatever takes HTML text or code as text. People's words must never get there. */
const MARKUP = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'setHTMLUnsafe', 'createContextualFragment'].map(
  (property) => ({ property, message: 'Make nodes with `h`; strings become text nodes.' }),
);

const CODE_CHARS_MAX = 120;
const COMMENT_CHARS_MAX = 100;

/** Prettier breaks code, but neither comments nor strings. */
const lineLength = {
  /** @param {import('eslint').Rule.RuleContext} context */
  create: (context) => ({
    Program(node) {
      for (const [at, text] of context.sourceCode.lines.entries()) {
        const max = /^\s*(?:\*|\/\/|\/\*\*)/u.test(text) ? COMMENT_CHARS_MAX : CODE_CHARS_MAX;
        const loc = { line: at + 1, column: max };
        if ([...text].length > max) context.report({ node, loc, message: `At most ${max} characters a line.` });
      }
    },
  }),
};

/** What may not be imported: the layers above. */
const upwards = (...folders) => [
  'error',
  { patterns: [{ group: folders.map((folder) => `**/${folder}`), message: 'Imports go downwards.' }] },
];

export default [
  { ignores: ['static/vendor/', '**/node_modules/', 'tests/browser/output/', 'target/'] },
  js.configs.recommended,
  {
    plugins: { house: { rules: { 'line-length': lineLength } } },
    rules: {
      eqeqeq: 'error',
      'house/line-length': 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-restricted-properties': ['error', ...MARKUP],
      'no-shadow': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true, argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'prefer-template': 'error',
    },
  },
  {
    files: ['static/**'],
    languageOptions: { globals: globals.browser },
    rules: {
      'max-lines': ['error', 500],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  { files: ['static/client/**', 'static/parlance-client.js'], rules: { 'no-restricted-imports': upwards('ui/**') } },
  { files: ['static/ui/widgets/**'], rules: { 'no-restricted-imports': upwards('views/**', 'store/**', 'app.js') } },
  { files: ['static/ui/store/**'], rules: { 'no-restricted-imports': upwards('views/**', 'widgets/**', 'app.js') } },
  { files: ['static/ui/views/**'], rules: { 'no-restricted-imports': upwards('app.js') } },
  { files: ['tests/browser/**'], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
