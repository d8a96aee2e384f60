// Names, times and sizes as people read them.

const MINUTE = 60_000;
const DAY = 86_400_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const fullDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const numericDay = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "2-digit", year: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function displayName(user) {
  return `${user.first_name ?? ""} ${user.last_name ?? ""}`.trim() || user.username || "Deleted account";
}

export function initials(user) {
  const words = displayName(user).split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => String.fromCodePoint(word.codePointAt(0)).toUpperCase()).join("");
}

export function timeOfDay(iso) {
  return clock.format(new Date(iso));
}

export function exactTime(iso) {
  return moment.format(new Date(iso));
}

/** A word for the day, the same for all times of one day in this time zone. */
export function dayKey(iso) {
  return new Date(iso).toDateString();
}

function daysAgo(date, now) {
  const midnight = (time) => new Date(time.getFullYear(), time.getMonth(), time.getDate());
  return Math.round((midnight(now) - midnight(date)) / DAY);
}

export function dayName(iso) {
  const date = new Date(iso);
  const now = new Date();
  const ago = daysAgo(date, now);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return (date.getFullYear() === now.getFullYear() ? dayOfYear : fullDay).format(date);
}

/** As short as a list needs it: a time today, a weekday this week, else a date. */
export function listTime(iso) {
  const date = new Date(iso);
  const now = new Date();
  const ago = daysAgo(date, now);
  if (ago <= 0) return clock.format(date);
  if (ago < 7) return weekday.format(date);
  return (date.getFullYear() === now.getFullYear() ? shortDay : numericDay).format(date);
}

export function lastSeen(presence, now) {
  if (!presence) return "";
  if (presence.online) return "online";
  if (!presence.last_seen) return "offline";
  const date = new Date(presence.last_seen);
  const minutes = Math.floor((now - date) / MINUTE);
  if (minutes < 1) return "last seen just now";
  if (minutes < 60) return `last seen ${minutes} min ago`;
  if (daysAgo(date, new Date(now)) === 0) return `last seen at ${clock.format(date)}`;
  return `last seen ${listTime(presence.last_seen)}`;
}

export function bytes(size) {
  if (size < 1024) return `${size} B`;
  if (size < 1024 ** 2) return `${Math.round(size / 1024)} KiB`;
  return `${(size / 1024 ** 2).toFixed(1)} MiB`;
}

export function count(number) {
  return number > 999 ? "999+" : String(number);
}

/** A browser's name out of its user agent. */
export function browserName(agent) {
  const name = [
    ["Edg", "Edge"],
    ["OPR", "Opera"],
    ["Firefox", "Firefox"],
    ["Chrome", "Chrome"],
    ["Safari", "Safari"],
  ].find(([mark]) => agent.includes(mark))?.[1];
  const system = [
    ["iPhone", "iPhone"],
    ["iPad", "iPad"],
    ["Android", "Android"],
    ["Windows", "Windows"],
    ["Mac OS", "macOS"],
    ["Linux", "Linux"],
  ].find(([mark]) => agent.includes(mark))?.[1];
  if (name && system) return `${name} on ${system}`;
  return name || agent || "Unknown device";
}
