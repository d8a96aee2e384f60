// The library's declarations beside the documents: compiled only. A line stands for one shape; it no
// longer compiles when the server's shape and the library's differ, also where one has a field that the
// other lacks. Frames are not declared to apps: those that the library sends are checked against the
// AsyncAPI document as they are sent, by the fake Natter of every other test (`fake/frames.js`).

import type * as natter from "natter-client";
import type { components as friendships } from "./friendships.js";
import type { components as messages } from "./messages.js";
import type { components as users } from "./users.js";
import type { components as frames } from "./frames.js";

type Users = users["schemas"];
type Friendships = friendships["schemas"];
type Messages = messages["schemas"];
type Frames = frames["schemas"];

/** No arguments if `Other` has all the fields of `One`; else a call without any does not compile. */
type Lacking<One, Other> = Exclude<keyof One, keyof Other> extends never ? [] : [lacks: Exclude<keyof One, keyof Other>];
/** What the server answers can be taken for what the library says, and the library leaves out nothing. */
const answered = <Declared, Documented extends Declared>(..._: Lacking<Documented, Declared>): [Declared, Documented] | null => null;
/** What the library takes can be sent as the server documents it, and the server knows all of it. */
const sent = <Documented, Declared extends Documented>(..._: Lacking<Declared, Documented>): [Documented, Declared] | null => null;

/** What may be null may also be left out by the documents; the server says null. */
type Filled<T> = T extends (infer One)[]
  ? Filled<One>[]
  : T extends object
    ? { [Name in keyof T as null extends T[Name] ? Name : never]-?: Filled<Exclude<T[Name], undefined>> } & {
        [Name in keyof T as null extends T[Name] ? never : Name]: Filled<T[Name]>;
      }
    : T;

/** A message as the server has it, without what the library adds. */
type Stored = Omit<natter.Message, "mine" | "status" | "error" | "edit" | "id" | "seq" | "media"> & {
  id: string;
  media: natter.Media[];
};
/** What the library makes a message of, and a page of a list. */
type Item = {
  id: string;
  message: Stored & { seq: number };
  receiver: string;
  is_received: boolean;
  is_seen: boolean;
  updated_at: string;
};
type Paged<T> = Omit<natter.Page<T>, "hasNext"> & { next: string | null; previous: string | null };
type Channel = natter.Marks & { friendship: natter.Friendship; last_message: Item | null; unread: number };

answered<natter.Profile, Filled<Users["Profile"]>>();
answered<natter.Session, Filled<Users["Session"]>>();
answered<natter.ListedUser, Filled<Users["Listed"]>>();
answered<Paged<natter.ListedUser>, Filled<Users["Paged_Listed"]>>();
answered<natter.UserCard, Filled<Friendships["UserCard"]>>();
answered<natter.Friendship, Filled<Friendships["Friendship_UserCard"]>>();
answered<natter.FriendshipStatus, Friendships["Status"]>();
answered<natter.Media, Filled<Messages["Media"]>>();
answered<natter.Marks, Filled<Messages["ChannelMarks"]>>();
answered<Item, Filled<Messages["Item"]>>();
answered<Item["message"], Filled<Messages["ItemMessage"]>>();
answered<Paged<Item>, Filled<Messages["Paged_Item"]>>();
answered<Channel, Filled<Messages["Conversation"]>>();
answered<Paged<Channel>, Filled<Messages["Paged_Conversation"]>>();

answered<Stored, Filled<Frames["serverFriendshipMessage"]["message"]>>();
answered<Stored, Filled<Frames["serverFriendshipMessageEdited"]["message"]>>();
answered<Stored, Filled<Frames["serverFriendshipMessageDeleted"]["message"]>>();
answered<natter.Ack & { type: "ack" }, Filled<Frames["serverAck"]>>();
answered<natter.Presence & { type: "presence"; user: string }, Filled<Frames["serverPresence"]>>();
answered<natter.Friendship, Filled<Frames["serverFriendshipUpdate"]["friendship"]>>();
answered<natter.Marks, Filled<Frames["serverResumed"]["marks"][string]>>();

sent<Omit<Users["NewUser"], "personal_image">, Omit<natter.NewUser, "personal_image">>();
sent<Users["Credentials"], Parameters<natter.NatterClient["logIn"]>[0]>();
sent<Users["NewPassword"], Parameters<natter.NatterClient["profile"]["changePassword"]>[0]>();
sent<Users["Confirmation"], Parameters<natter.NatterClient["profile"]["delete"]>[0]>();
sent<Omit<Users["Change"], "personal_image">, Omit<natter.ProfileChange, "personal_image">>();
