// -- text of others --------------------------------------------------------------------------------

const MAX_TEXT = 2000;
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Cut a text, and show characters that do not print; the element isolates its direction. */
function readable(value, most = MAX_TEXT) {
  const text = (typeof value === "string" ? value : describe(value)).slice(0, most + 1);
  const shown = text.slice(0, most).replace(CONTROLS, "\ufffd");
  const left = typeof value === "string" ? value.length - most : text.length - most;
  return left > 0 ? `${shown}… (${left.toLocaleString("en")} more characters are not shown)` : shown;
}

function describe(value) {
  if (value instanceof ArrayBuffer) return `(${value.byteLength} bytes)`;
  try {
    return JSON.stringify(value, (_, one) => (one instanceof ArrayBuffer ? `(${one.byteLength} bytes)` : one)) ?? "";
  } catch {
    return "(a value that cannot be shown)";
  }
}

/** The beginning of a text, without marks that would change how others read. */
const brief = (text, most) => readable(text.length > most ? `${text.slice(0, most)}…` : text).replace(DIRECTIONS, "\ufffd");

/** A name. */
const label = (name) => brief(typeof name === "string" ? name : describe(name), 80);

function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const bdi = (text, given = {}) => el("bdi", given, text);
const $ = (selector) => document.querySelector(selector);
const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

// -- the theme -------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];

function remember(storage, name, value) {
  try {
    if (value === null) storage.removeItem(name);
    else if (value !== undefined) storage.setItem(name, value);
    else return storage.getItem(name);
  } catch { /* storage may be switched off; then it is forgotten */ }
  return null;
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("#theme").textContent = `◐ ${theme}`;
  $("#theme").setAttribute("aria-label", `Theme: ${theme}`);
  remember(localStorage, "theme", theme);
}

$("#theme").onclick = () => useTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]);
useTheme(THEMES.includes(remember(localStorage, "theme")) ? remember(localStorage, "theme") : "auto");
