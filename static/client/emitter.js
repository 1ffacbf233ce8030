/**
 * Listeners by the name of their event. `ParlanceClient` is one.
 *
 * Listeners are called at once, in the order in which they came. One that throws keeps the event
 * from those after it.
 *
 * @import { Conversation } from './conversation.js'
 * @import { AckFrame, ConversationFrame, HelloFrame, NoticeFrame, Status } from './types.js'
 */

/**
 * The events of `ParlanceClient`, by name, with what a listener is given.
 *
 * @typedef {object} ClientEvents
 * @property {Status} status
 * @property {HelloFrame} hello
 * @property {{ conversation: Conversation, frame: ConversationFrame | AckFrame | null }} change
 *   `frame` is null when the change is the client's own: a message that waits, a page of history
 * @property {{ id: string, code: string }} gone a conversation that may no longer be read
 * @property {NoticeFrame} notice
 * @property {{ until: number }} paused the user's quota is used up until then, in Unix milliseconds
 * @property {{ code: number, reason: string }} stopped
 * @property {undefined} signed_out
 */

export class Emitter {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * Registers a listener.
   *
   * @template {keyof ClientEvents} E
   * @param {E} event
   * @param {(detail: ClientEvents[E]) => void} listener
   * @returns {() => void} removes it
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * @template {keyof ClientEvents} E
   * @param {E} event
   * @param {ClientEvents[E]} [detail]
   */
  emit(event, detail) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(detail);
  }
}
