/**
 * The shapes of the wire protocol, as JSDoc types. Nothing is here when the client runs.
 *
 * Used by the client, the page and the tests. `docs/protocol.md` says what each field means. A
 * frame that the server adds needs a type here only when the client reads it.
 */

/** @typedef {'person' | 'agent' | 'system'} Kind */
/** @typedef {'member' | 'moderator' | 'owner'} Role of a member in a conversation */
/** @typedef {{ id: string, name: string, kind: Kind, role?: string, tier?: string }} User */
/**
 * What a member may do besides reading, posting, reacting and leaving.
 *
 * @typedef {'invite' | 'rename' | 'add_members' | 'remove_members' | 'moderate' | 'change_roles'
 *   | 'delete'} MemberAction
 */
/** @typedef {{ id: string, name: string, kind: Kind, role: Role, online: boolean }} Member */
/** @typedef {{ emoji: string, count: number, users: string[] }} Reaction `users`: the first 20 */

/**
 * What the server allows, from `hello`.
 *
 * @typedef {object} Limits
 * @property {number} frame_bytes
 * @property {number} body_bytes
 * @property {number} subscriptions
 * @property {number} window how many frames may be without a reply
 */

/**
 * A message as the server has it, on the socket and over REST.
 *
 * @typedef {object} WireMessage
 * @property {string} conversation
 * @property {number} rev
 * @property {number} seq
 * @property {string} id
 * @property {string} author user id
 * @property {Kind} kind
 * @property {string | null} body null once deleted
 * @property {string | null} [reply_to]
 * @property {string} created_at
 * @property {string | null} [edited_at]
 * @property {string | null} [deleted_at]
 * @property {Reaction[]} [reactions]
 * @property {string[]} [mine] the user's own emojis; in pages and replays, if there are reactions
 * @property {string} [by] who caused a live `updated`
 * @property {string} [emoji] and by which reaction
 * @property {boolean} [on] whether it was added
 */

/**
 * A message as the client holds it: every field is there, and the object never changes.
 *
 * @typedef {Readonly<Required<Omit<WireMessage, 'conversation' | 'by' | 'emoji' | 'on'>>>} Message
 */

/**
 * An own message that is not yet in the conversation. `seq` and `rev` are there once it is
 * acknowledged.
 *
 * @typedef {object} PendingMessage
 * @property {string} id
 * @property {string} body
 * @property {string | null} reply_to
 * @property {string} created_at
 * @property {'pending' | 'acked' | 'failed'} status
 * @property {Error | null} error
 * @property {number} [seq]
 * @property {number} [rev]
 */

/**
 * A page of history: messages in the order of `seq`, and the revision of the conversation when it
 * was read.
 *
 * @typedef {{ items: WireMessage[], rev: number, next?: string | null }} HistoryPage
 */

// ---- Server frames ----

/**
 * @typedef {object} HelloFrame
 * @property {'hello'} type
 * @property {undefined} [ref]
 * @property {number} protocol
 * @property {string} connection
 * @property {string} node
 * @property {User} user
 * @property {number} heartbeat_ms
 * @property {string | null} token_expires_at
 * @property {string} server_time
 * @property {Limits} limits
 */

/**
 * @typedef {object} AckFrame
 * @property {'ack'} type
 * @property {string} [ref]
 * @property {string} conversation
 * @property {string} id
 * @property {number} seq
 * @property {number} rev
 * @property {string} created_at
 * @property {true} [duplicate]
 * @property {{ limit: number, remaining: number, reset_ms: number }} [budget]
 */

/** @typedef {{ type: 'ok', ref?: string, rev?: number, token_expires_at?: string }} OkFrame */
/** @typedef {{ type: 'pong', ref?: string, server_time: string }} PongFrame */

/**
 * @typedef {object} ErrorFrame
 * @property {'error'} type
 * @property {string} [ref]
 * @property {string} code
 * @property {string} message
 * @property {number} [retry_after_ms]
 */

/**
 * @typedef {object} SubscribedFrame
 * @property {'subscribed'} type
 * @property {string} [ref]
 * @property {string} conversation
 * @property {string} title
 * @property {number} rev
 * @property {number} last_seq
 * @property {number} read_seq
 * @property {Role} role the user's own
 * @property {MemberAction[]} may
 * @property {number} member_count
 * @property {Member[]} [members] left out in conversations too large for it
 * @property {boolean} complete
 */

/** @typedef {WireMessage & { type: 'message' | 'updated', ref?: undefined }} MessageFrame */

/**
 * @typedef {object} MemberFrame
 * @property {'member'} type
 * @property {undefined} [ref]
 * @property {string} conversation
 * @property {number} rev
 * @property {Omit<Member, 'online'>} user
 * @property {'added' | 'changed' | 'removed'} change
 */

/**
 * The properties of a conversation after a change.
 *
 * @typedef {object} PropertiesFrame
 * @property {'conversation'} type
 * @property {undefined} [ref]
 * @property {string} conversation
 * @property {number} rev
 * @property {string} title
 * @property {string | null} [deleted_at]
 */

/** @typedef {{ ref?: undefined, conversation: string, user: string }} OfUser */
/** @typedef {OfUser & { type: 'read', seq: number }} ReadFrame */
/** @typedef {OfUser & { type: 'typing', on: boolean }} TypingFrame */
/** @typedef {OfUser & { type: 'presence', online: boolean }} PresenceFrame */

/**
 * The latest message of a conversation as a list shows it.
 *
 * @typedef {object} NoticeMessage
 * @property {string} id
 * @property {number} seq
 * @property {string} author user id
 * @property {string | null} [author_name] null when they are no longer a member
 * @property {Kind} kind
 * @property {string | null} body at most its first 200 bytes; null once deleted
 * @property {string} created_at
 */

/**
 * What a list shows of a conversation, when that has changed.
 *
 * @typedef {object} NoticeFrame
 * @property {'notice'} type
 * @property {undefined} [ref]
 * @property {string} conversation
 * @property {number} rev
 * @property {string} title
 * @property {number} last_seq
 * @property {NoticeMessage | null} last_message
 * @property {string | null} last_message_at
 * @property {true} [removed] the conversation is gone for this user
 * @property {number} unread
 */

/**
 * @typedef {{ type: 'goodbye', ref?: undefined, reason?: string, retry_after_ms?: number }}
 *   GoodbyeFrame
 */

/** @typedef {AckFrame | OkFrame | PongFrame | SubscribedFrame | ErrorFrame} ReplyFrame */
/** @typedef {MessageFrame | MemberFrame | PropertiesFrame} DurableFrame what has a `rev` */
/**
 * @typedef {SubscribedFrame | DurableFrame | ReadFrame | TypingFrame | PresenceFrame}
 *   ConversationFrame
 */
/**
 * @typedef {HelloFrame | ReplyFrame | ConversationFrame | NoticeFrame | GoodbyeFrame} ServerFrame
 */

// ---- Client frames, without `ref` ----

/** @typedef {{ if_rev?: number }} IfRev only while the message has this revision */

/**
 * @typedef {{ type: 'subscribe', conversation: string, after?: number }
 *   | { type: 'unsubscribe', conversation: string }
 *   | { type: 'send', conversation: string, id: string, body: string, reply_to?: string }
 *   | ({ type: 'edit', conversation: string, id: string, body: string } & IfRev)
 *   | ({ type: 'delete', conversation: string, id: string } & IfRev)
 *   | ({ type: 'react', conversation: string, id: string, emoji: string, on: boolean } & IfRev)
 *   | { type: 'read', conversation: string, seq: number }
 *   | { type: 'typing', conversation: string, on: boolean }
 *   | { type: 'refresh', token: string }
 *   | { type: 'ping' }} ClientFrame
 */

// ---- What the client says about itself ----

/**
 * `waiting` has `retryAt`, in Unix milliseconds. `stopped` has `code` and `reason` when the server
 * said so.
 *
 * @typedef {object} Status
 * @property {'connecting' | 'online' | 'waiting' | 'stopped'} state
 * @property {number} [retryAt]
 * @property {number} [code]
 * @property {string} [reason]
 */

/**
 * `life_ms` is how long the token lives from when it was made, in milliseconds.
 *
 * @typedef {{ access_token: string, life_ms: number }} RenewedToken
 */
/**
 * @typedef {{
 *   access_token: string,
 *   expires_at: string,
 *   user: User,
 *   tenant: { id: string, name: string },
 * }} SignedIn
 */

/**
 * Gives an access token or an API key.
 *
 * @typedef {() => string | null | undefined | Promise<string | null | undefined>} TokenSource
 */

/** @typedef {(url: string | URL, options?: RequestInit) => Promise<Response>} Fetch */

/**
 * Where the client keeps a few short texts: `localStorage` unless another one is given.
 *
 * @typedef {object} Storage
 * @property {(key: string) => string | null} get
 * @property {(key: string, value: string) => void} set
 * @property {(key: string) => void} remove
 */

export {};
