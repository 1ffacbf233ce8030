/**
 * Styles that come with the views that need them, and not with the first visit.
 *
 * Used by views that few open.
 */
import { h } from './dom.js';

/** @type {Map<string, Promise<void>>} by address */
const stylesheets = new Map();

/**
 * Loads the styles of a view that few open. Whoever shows it waits, so that nothing is seen without
 * them.
 *
 * @param {string} href
 * @returns {Promise<void>} fails when they cannot be loaded; the next time they are asked for again
 */
export function stylesheet(href) {
  let loading = stylesheets.get(href);
  if (loading) return loading;
  const link = h('link', { rel: 'stylesheet', href });
  loading = new Promise((done, failed) => {
    link.addEventListener('load', () => done());
    link.addEventListener('error', () => {
      stylesheets.delete(href);
      link.remove();
      failed(new Error('A part of the page could not be loaded.'));
    });
  });
  stylesheets.set(href, loading);
  document.head.append(link);
  return loading;
}
