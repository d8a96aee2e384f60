// The library's declarations beside the documents: compiled only. A line stands for one shape; it no
// longer compiles when the server's shape and the library's differ.

import type * as natter from "natter-client";
import type { components as friendships } from "./friendships.js";
import type { components as messages } from "./messages.js";
import type { components as users } from "./users.js";
import type { components as frames } from "./frames.js";

type Users = users["schemas"];
type Friendships = friendships["schemas"];
type Messages = messages["schemas"];
type Frames = frames["schemas"];

/** What the server answers can be taken for what the library says. */
const answered = <Declared, Documented extends Declared>(): [Declared, Documented] | null => null;
/** What the library takes can be sent as the server documents it. */
const sent = <Documented, Declared extends Documented>(): [Documented, Declared] | null => null;

/** A message as the server has it, without what the library adds. */
type Stored = Omit<natter.Message, "mine" | "status" | "error" | "id" | "seq" | "media"> & {
  id: string;
  media: natter.Media[];
};
/** The documents leave open whether null is said or left out; the server says it. */
type Filled<T> = T extends object ? { [Name in keyof T]-?: Filled<Exclude<T[Name], undefined>> } : T;

answered<natter.Profile, Filled<Users["Profile"]>>();
answered<natter.Session, Filled<Users["Session"]>>();
answered<natter.ListedUser, Filled<Users["Listed"]>>();
answered<natter.UserCard, Filled<Friendships["UserCard"]>>();
answered<natter.Friendship, Filled<Friendships["Friendship_UserCard"]>>();
answered<natter.FriendshipStatus, Friendships["Status"]>();
answered<natter.Media, Messages["Media"]>();
answered<natter.Marks, Messages["ChannelMarks"]>();
answered<Stored & { seq: number }, Filled<Messages["ItemMessage"]>>();
answered<natter.Marks & { unread: number }, Messages["Conversation"]>();
answered<natter.Page<unknown>["results"], Messages["Paged_Item"]["results"]>();

answered<Stored, Filled<Frames["serverFriendshipMessage"]["message"]>>();
answered<Stored, Filled<Frames["serverFriendshipMessageEdited"]["message"]>>();
answered<Stored, Filled<Frames["serverFriendshipMessageDeleted"]["message"]>>();
answered<natter.Ack, Filled<Frames["serverAck"]>>();
answered<natter.Presence, Filled<Frames["serverPresence"]>>();
answered<natter.Friendship, Filled<Frames["serverFriendshipUpdate"]["friendship"]>>();
answered<natter.Marks, Frames["serverResumed"]["marks"][string]>();

sent<Omit<Users["NewUser"], "personal_image">, Omit<natter.NewUser, "personal_image">>();
sent<Users["Credentials"], Parameters<natter.NatterClient["logIn"]>[0]>();
sent<Users["NewPassword"], Parameters<natter.NatterClient["profile"]["changePassword"]>[0]>();
sent<Users["Confirmation"], Parameters<natter.NatterClient["profile"]["delete"]>[0]>();
sent<Omit<Users["Change"], "personal_image">, Omit<natter.ProfileChange, "personal_image">>();
