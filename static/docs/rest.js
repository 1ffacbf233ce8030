/**
 * `/docs`: the REST API as `/openapi.json` has it, drawn by the vendored Swagger UI.
 *
 * Nothing is asked of any other host: the badge that would send the document to a validator is off.
 * Requests that are tried out here are made by the page's own origin, so whoever is signed in makes
 * them as themselves.
 */
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();

const { SwaggerUIBundle } = /** @type {any} */ (globalThis);
SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#rest',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  layout: 'BaseLayout',
  validatorUrl: null,
});
