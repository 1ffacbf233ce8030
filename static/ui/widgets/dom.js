/**
 * Makes DOM nodes and redraws them. Used by all views and widgets.
 *
 * There is no way to give HTML text to it: strings become text nodes, so nothing that people write
 * can become markup.
 */

/**
 * @typedef {Node | string | null | undefined | false | Child[]} Child null, undefined and false are
 *   left out
 */

/** @typedef {HTMLElementEventMap} Events */
/** @typedef {{ [E in keyof Events]?: (event: Events[E]) => unknown }} Listeners */

/**
 * `class`, `text`, `dataset`, `on` (listeners). Other names are properties if the element has them,
 * and attributes otherwise. null, undefined and false leave an attribute out.
 *
 * @typedef {object} KnownProps
 * @property {string} [class]
 * @property {string} [text]
 * @property {Record<string, string>} [dataset]
 * @property {Listeners} [on]
 */
/** @typedef {KnownProps & Record<string, unknown>} Props */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const node = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === 'class') node.className = value;
    else if (name === 'text') node.textContent = value;
    else if (name === 'dataset') Object.assign(node.dataset, value);
    else if (name === 'on') listen(node, value);
    else if (name in node && !name.startsWith('aria')) node[name] = value;
    else if (value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  const shown = /** @type {any[]} */ (children).flat(Infinity);
  node.append(...shown.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/**
 * @param {HTMLElement} node
 * @param {object} listeners by event
 */
function listen(node, listeners) {
  for (const [event, listener] of Object.entries(listeners)) node.addEventListener(event, listener);
}

/**
 * @param {Node} node
 * @returns {HTMLElement | null} the focused element in it, if the focus is there
 */
export function focusedIn(node) {
  const focused = document.activeElement;
  return focused instanceof HTMLElement && node.contains(focused) ? focused : null;
}

/**
 * Replaces the children of a node only where they differ, so that focus, selection and scrolling
 * survive.
 *
 * @param {Node} parent
 * @param {ChildNode[]} wanted
 */
export function reconcile(parent, wanted) {
  let cursor = parent.firstChild;
  const keep = new Set(wanted);
  while (cursor) {
    const next = cursor.nextSibling;
    if (!keep.has(cursor)) cursor.remove();
    cursor = next;
  }
  cursor = parent.firstChild;
  for (const node of wanted) {
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
  }
}

/**
 * Runs a drawing at most once per frame; also while the page is hidden, where frames stop but
 * titles must go on.
 *
 * @param {() => void} draw
 * @returns {() => void} asks for a drawing
 */
export function scheduler(draw) {
  /** @type {{ frame: number, timer: ReturnType<typeof setTimeout> } | null} */
  let pending = null;
  const run = () => {
    if (pending === null) return;
    cancelAnimationFrame(pending.frame);
    clearTimeout(pending.timer);
    pending = null;
    draw();
  };
  return () => {
    pending ??= { frame: requestAnimationFrame(run), timer: setTimeout(run, 120) };
  };
}
