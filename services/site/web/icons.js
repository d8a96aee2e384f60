// The icons: outlines on a grid of 24, in the colour of the text around them.

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  chats: "M4 5.5h16v11H11l-5 4v-4H4z",
  people: "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 19.5c.4-3.6 3-5.5 6.5-5.5s6.1 1.9 6.5 5.5M16 4.9a3.5 3.5 0 0 1 0 6.3M18 14.5c2 .8 3.2 2.5 3.5 5",
  unfriend: "M10 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3.5 19.5c.4-3.6 3-5.5 6.5-5.5s6.1 1.9 6.5 5.5M15.5 10h6",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM15.3 15.3 20.5 20.5",
  profile: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20c.6-3.8 3.5-6 7.5-6s6.9 2.2 7.5 6",
  back: "M14.5 5 7.5 12l7 7",
  send: "M4.5 12 4 4.5 20.5 12 4 19.5zM4.5 12H11",
  attach: "M19.5 11.5 12 19a4.7 4.7 0 0 1-6.6-6.6l8-8a3.1 3.1 0 0 1 4.4 4.4l-7.9 8a1.6 1.6 0 0 1-2.2-2.3l7-7",
  close: "M6 6l12 12M18 6 6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  more: "M6 9.5l6 6 6-6",
  reply: "M9.5 6 4 11.5 9.5 17M4.5 11.5H14c3.5 0 6 2 6 6.5",
  edit: "M4.5 19.5l.8-4L16 4.8l3.2 3.2L8.5 18.7z",
  trash: "M5 7h14M10 7V4.5h4V7M6.5 7l1 12.5h9l1-12.5M10.2 10.5l.3 5.5M13.8 10.5l-.3 5.5",
  copy: "M9 9h10.5v10.5H9zM15 5.5V4.5H4.5V15h1",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M17.5 3v4.5H13",
  file: "M6 3.5h8l4.5 4.5v12.5H6zM13.5 3.5V8.5H18.5",
  download: "M12 4v11M7 10.5l5 5 5-5M5 19.5h14",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4",
  camera: "M4 7.5h4l1.5-2.5h5L16 7.5h4V19H4zM12 16a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
  device: "M4 5h16v10.5H4zM9 19.5h6M12 15.5v4",
  logout: "M14 4.5H5v15h9M10 12h10.5M17 8.5l3.5 3.5-3.5 3.5",
  offline: "M4 4l16 16M8.5 15.5a5 5 0 0 1 5.8-.9M5.5 12.3a9 9 0 0 1 4.3-2.3M14 9.8c1.7.4 3.2 1.3 4.5 2.5M12 19h.01",
  clock: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zM12 7.5V12l3 2",
  check: "M5 12.5l4.5 4.5L19 7",
  checks: "M2 12.5l4.5 4.5L15.5 7M11.5 16.5l.5.5L22 7",
  alert: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM12 7.5v5.5M12 16.3v.2",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
