/**
 * Words that several parts of the page of numbers share.
 */

/** Numbers are the workspace's, words are their members'. */
export const untitled = 'Conversations you are not a member of are counted, but not named.';

/** Somebody whose name is not there any more. */
export const nameless = 'Somebody';

/**
 * What stands in the place of a title that one may not see.
 *
 * @param {string} id of a conversation
 */
export const hiddenTitle = (id) => `Conversation …${id.slice(-6)}`;
