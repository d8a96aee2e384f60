/**
 * natter-client: the client library of Natter.
 *
 * What comes from the server keeps the names of its OpenAPI and AsyncAPI documents (`created_at`);
 * what the library adds is in camel case (`replyTo`).
 */

/** `offline`: not connected, and trying again. `closed`: not connected, and not trying. */
export type ConnectionState = "connecting" | "connected" | "offline" | "closed";

export interface NatterOptions {
  /** Where Natter is: `https://chat.example`. */
  url: string;
  /**
   * An access token, for apps whose own backend holds the sessions: called again whenever a fresh one
   * is needed. It must be made at the call: its `iat` tells the server's time. Where it rejects, it is as if
   * the server was not reached: what may be repeated is, and calls it again. Without `getToken`, the library
   * keeps the session that `logIn` or `signUp` begins.
   */
  getToken?: () => Promise<string>;
  /**
   * Where the session and what was not sent yet are kept. Default: IndexedDB; the memory in Node, and where
   * a browser keeps nothing for the page (see `persistent`).
   */
  store?: Store;
}

/**
 * A place for values by key. Values are what the structured clone algorithm takes: objects, arrays,
 * `Blob`s. `set` resolves once the value would outlive the page.
 */
export interface Store {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
  /** All pairs whose key begins with `prefix`, in the order of their keys. */
  entries(prefix: string): Promise<[key: string, value: unknown][]>;
}

/** In IndexedDB, so that it outlives the page and is shared by tabs. */
export class IndexedDbStore implements Store {
  constructor(database?: string);
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
  entries(prefix: string): Promise<[key: string, value: unknown][]>;
}

/** In this process; gone when it ends. */
export class MemoryStore implements Store {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
  entries(prefix: string): Promise<[key: string, value: unknown][]>;
}

/** What the server refused, or why it was not reached. */
export class NatterError extends Error {
  /**
   * The server's word for it, as its documents list them (`client_id_reused`, also `unavailable` and
   * `rate_limited`), or one of the library's own:
   *
   * - `offline`: the server was not reached, its answer broke off, or `getToken` rejected
   * - `unavailable`: a status from 500 on without a code; `http_413` and so on: another one without
   * - `logged_out`: there is no session, or it has ended
   * - `logged_in`: there is a session already
   * - `closed`: `connect` was ended before it came to a connection
   * - `aborted`: the caller gave up
   * - `discarded`: a message or change was taken back
   * - `too_large`: a message is larger than the server takes
   * - `store`: the store failed
   * - `protocol`, `too_many_connections`: see the event `error`
   */
  code: string;
  /** What failed, where that was not the library: what `getToken` rejected with. */
  cause?: unknown;
  /** The HTTP status; absent where the answer came over the WebSocket or did not come. */
  status?: number;
  /** Milliseconds after which it may be tried again, where an answer to a request says so. */
  retryAfter?: number;
}

/** A user as others see them. */
export interface UserCard {
  id: string;
  username: string;
  first_name: string;
  last_name: string;
  email: string;
  personal_image: string | null;
  /** Whether the account was deleted: nothing but the id is left of it. */
  deleted?: boolean;
}

/** A user as a search lists them. */
export interface ListedUser {
  id: string;
  username: string;
  personal_image: string | null;
}

export interface Profile {
  id: string;
  username: string;
  email: string;
  first_name: string;
  last_name: string;
  personal_image: string | null;
}

export interface Session {
  sid: string;
  created_at: string;
  last_used_at: string;
  user_agent: string;
  current: boolean;
}

export interface NewUser {
  username: string;
  email: string;
  password: string;
  first_name?: string;
  last_name?: string;
  personal_image?: Blob | null;
}

export interface ProfileChange {
  first_name?: string;
  last_name?: string;
  /** Null removes it. */
  personal_image?: Blob | null;
}

export type FriendshipStatus = "pending" | "accepted" | "rejected";

export interface Friendship {
  id: string;
  /** Who asked. */
  from_user: UserCard;
  to_user: UserCard;
  status_from_user: FriendshipStatus;
  status_to_user: FriendshipStatus;
  date_created: string;
  /** Whether messages can be sent in it. */
  is_open: boolean;
  revision: number;
}

/** A friendship from this user's side. */
export interface Friend extends Friendship {
  /** The other one. */
  friend: UserCard;
  /** `asked`: by this user. `asking`: this user is asked. `rejected`: by either side. */
  relation: "friends" | "asked" | "asking" | "rejected";
  /** Whether this user's own side rejected it, which only this side can take back (`accept`). */
  rejectedByMe: boolean;
}

export interface Media {
  id: string;
  filename: string;
  content_type: string;
  size: number;
  file?: string | null;
}

/** A file of a message that is not uploaded yet. */
export interface PendingMedia {
  id: null;
  filename: string;
  content_type: string;
  size: number;
  blob: Blob;
  /** 0 to 1. */
  progress: number;
}

/** `seen` implies `received`. `pending` and `failed` are this device's own. */
export type MessageStatus = "pending" | "sent" | "received" | "seen" | "failed";

export interface Message {
  /** Null until the server has it. */
  id: string | null;
  friendship: string;
  sender: string;
  content: string;
  media: (Media | PendingMedia)[];
  created_at: string;
  client_id: string | null;
  reply_to: string | null;
  edited_at: string | null;
  deleted: boolean;
  /** Its place in the conversation's log; null until the server has it. */
  seq: number | null;
  /** Whether this user sent it. */
  mine: boolean;
  /** Of the friend's messages always `sent`, `received` or `seen` by this user. */
  status: MessageStatus;
  /** Why it failed. */
  error: NatterError | null;
  /** A change of its text on this device that the server does not have. */
  edit: MessageEdit | null;
}

/**
 * `pending`: under way, and already shown as the message's `content`, with the status `pending`. `failed`:
 * refused; the message is shown as the server has it, and the text stays here until `retry`, `discard`,
 * another edit or deletion of the message, or the loss of the message itself (a restore of the server's data).
 */
export interface MessageEdit {
  /** What `retry` and `discard` take. */
  client_id: string;
  content: string;
  status: "pending" | "failed";
  error: NatterError | null;
}

/**
 * A message that was just sent: here at once. `id`, `seq`, `created_at`, `media`, `status` and `error`
 * change as it goes on; a copy of it (`{...message}`) stays as it was.
 */
export interface SentMessage extends Message {
  client_id: string;
  kept: Kept;
  /**
   * Settles once the server has committed or definitely refused it, over any number of reconnects; rejects also
   * where it is discarded, or the session ends.
   */
  acked: Promise<Ack>;
}

/** As `acked` of a message. */
export interface SentChange extends Promise<Ack> {
  client_id: string;
  kept: Kept;
}

/**
 * Resolves once it would outlive the page: it is in the store. Rejects with the code `store` where the store
 * did not take it: then it is sent all the same, but lost if the page ends before the `Ack`.
 */
export type Kept = Promise<void>;

export interface Ack {
  client_id: string | null;
  channel: string;
  message: string;
  seq: number;
  created_at: string;
  duplicate: boolean;
}

export interface NewMessage {
  text?: string;
  /** Files, or files that were uploaded before. At most 10. */
  media?: (Blob | Media)[];
  /** A message's id. */
  replyTo?: string;
}

export interface Marks {
  received_seq: number;
  seen_seq: number;
  friend_received_seq: number;
  friend_seen_seq: number;
}

export interface ConversationInfo extends Marks {
  /** Of the friendship, which is the channel's name too. */
  id: string;
  friendship: Friendship;
  friend: UserCard;
  last_message: Message | null;
  unread: number;
  /** Whether the friend is typing. */
  typing: boolean;
}

export interface ConversationList {
  /** Newest activity first. */
  conversations: ConversationInfo[];
  /** Unread messages in all of them. */
  unread: number;
  /** Whether the first load is under way. */
  loading: boolean;
}

export interface MessageWindow {
  /** Oldest first; at the end what was not sent yet. */
  messages: Message[];
  /** Whether there are older ones. */
  hasBefore: boolean;
  /** Whether there are newer ones: new messages are not shown until `latest` or `after` came to the end. */
  hasAfter: boolean;
  /** Whether the first load is under way. */
  loading: boolean;
  /** Why the last load failed; it is tried again with the next call. */
  error: NatterError | null;
}

export interface Subscription {
  unsubscribe(): void;
  /** Shows up to `n` older messages, and says how many. */
  before(n?: number): Promise<number>;
  /** Shows up to `n` newer messages, and says how many. */
  after(n?: number): Promise<number>;
  /** Goes to the end, where new messages appear. */
  latest(): Promise<void>;
  /** Goes to a message. */
  around(message: string): Promise<void>;
}

export interface Conversation {
  readonly id: string;
  /** As `conversations.watch` shows it; null until it is loaded. */
  readonly info: ConversationInfo | null;
  /** Keeps the message, shows it, and sends it as soon as all before it in this conversation are sent. */
  send(message: NewMessage): SentMessage;
  /**
   * Changes one's own message. Resolves when the server has it, over any number of reconnects; where it is
   * refused, the text stays as the message's `edit`.
   */
  edit(message: string, text: string): SentChange;
  /** Deletes one's own message. Resolves when the server has it, over any number of reconnects. */
  delete(message: string): SentChange;
  /** Sends a failed message or edit again. */
  retry(clientId: string): void;
  /** Forgets a message or an edit that the server does not have. */
  discard(clientId: string): void;
  /** Everything in it is seen. */
  markSeen(): void;
  typing: {
    /** At each key: tells the friend, not too often, and stops by itself. */
    keystroke(): void;
    stop(): void;
  };
  /**
   * Shows the newest messages, and again whenever they change. At most `limit` are held (default 200):
   * what is added at one end beyond that goes at the other.
   */
  subscribe(fn: (window: MessageWindow) => void, options?: { limit?: number; around?: string }): Subscription;
}

export interface Presence {
  online: boolean;
  last_seen: string | null;
}

export interface Page<T> {
  count: number;
  results: T[];
  hasNext: boolean;
}

export interface Events {
  state: ConnectionState;
  /** The session began, or (null) ended: by `logOut`, here or in another tab, or by a revocation elsewhere. */
  session: { user: string } | null;
  /** A new message, the friend's or this user's own, from this device too; not those of a load. */
  message: Message;
  friendship: Friend;
  presence: { user: string } & Presence;
  typing: { conversation: string; user: string; active: boolean };
  /**
   * What went wrong beside any call. `store`: the store failed, and what was to be kept there lives as long
   * as the page. `protocol`: the server did not understand this client. `too_many_connections`: another
   * connection of the user took this one's place. Else the server's word: of a deletion, or of an edit that was
   * changed again, of an earlier page or another tab; or of a frame that no call waits for.
   */
  error: NatterError;
}

export class NatterClient {
  constructor(options: NatterOptions);
  readonly state: ConnectionState;
  /** The user's id; null without a session. */
  readonly user: string | null;
  /** How many messages and changes of this user, on this device, the server does not have yet. */
  readonly unsent: number;
  /**
   * Whether the session and what is not sent outlive the page: not in the memory, which is also the store
   * where a browser keeps nothing for the page. Known after `restore`, `connect`, `logIn` or `signUp`.
   */
  readonly persistent: boolean;
  /** The server's time in milliseconds, whatever this device's clock says. */
  now(): number;

  /**
   * Rejects with the code `logged_in` where this client has a session: `logOut` first. Of several calls at once,
   * also of `logIn` and `logOut`, each waits for the one before it. What was sent before, without a session, is
   * nobody's: it rejects with the code `logged_out`.
   */
  signUp(user: NewUser): Promise<void>;
  /** As `signUp`. */
  logIn(credentials: { username: string; password: string }): Promise<void>;
  /**
   * Ends this device's session, in all its tabs, and forgets what was not sent. Rejects where the server
   * is not reached; then nothing has ended.
   */
  logOut(): Promise<void>;
  /** Whether there is a session in the store, which is then used; one that the store did not take stays. */
  restore(): Promise<boolean>;
  /**
   * Connects, and again whenever a connection is lost, until `close`, the end of the session, or 4009: another
   * connection of the user took this one's place, and `connect`, or looking at the page again, takes it back.
   * Resolves at the first `connected`. Before that, it rejects as `logged_out` where there is no session or it
   * ends, as `closed` after `close` or 4009, and as `offline` where the first `getToken` rejects. That the server
   * is not reached is no reason to reject: `state` tells.
   */
  connect(): Promise<void>;
  close(): void;
  on<E extends keyof Events>(event: E, fn: (value: Events[E]) => void): () => void;

  profile: {
    get(): Promise<Profile>;
    update(change: ProfileChange): Promise<Profile>;
    changePassword(passwords: { current: string; new: string }): Promise<void>;
    delete(confirmation: { password: string }): Promise<void>;
    /** Where this user is logged in. */
    sessions(): Promise<Session[]>;
    endSession(sid: string): Promise<void>;
  };
  users: {
    /** By part of a name. `page` from 1. */
    search(query: { username?: string; page?: number; pageSize?: number }): Promise<Page<ListedUser>>;
  };
  friends: {
    list(): Promise<Friend[]>;
    ask(user: string): Promise<Friend>;
    accept(friendship: string): Promise<Friend>;
    reject(friendship: string): Promise<Friend>;
    watch(fn: (friends: Friend[]) => void): () => void;
  };
  conversations: {
    list(): Promise<ConversationInfo[]>;
    watch(fn: (list: ConversationList) => void): () => void;
  };
  conversation(id: string): Conversation;
  presence: {
    /** Null as long as nothing was heard of them. */
    get(user: string): Presence | null;
    watch(fn: (user: string, presence: Presence) => void): () => void;
  };
  /** In the texts of this user's conversations, best first. `page` from 1. */
  search(text: string, options?: { page?: number; pageSize?: number }): Promise<Page<Message>>;
  /** `onProgress` gets the part that is sent, from 0 to 1; in Node only the 1 at the end. */
  upload(
    file: Blob,
    options?: { filename?: string; onProgress?: (part: number) => void; signal?: AbortSignal },
  ): Promise<Media>;
  /** The content of a file of a message. */
  download(media: Media): Promise<Blob>;
}
