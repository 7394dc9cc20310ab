// What tests do to the page of the Admin UI; loaded into it before anything else.
window.ui = {
  text: () => document.body.innerText,

  // Wait until a function gives something; "the page" is told if it does not.
  async until(find, what) {
    for (const end = Date.now() + 10_000; Date.now() < end; ) {
      const found = find();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`there is no ${what} on the page:\n${ui.text()}`);
  },
  shows: (part) => ui.until(() => ui.text().includes(part), JSON.stringify(part)).then(() => true),
  lacks: (part) => ui.until(() => !ui.text().includes(part), `page without ${part}`).then(() => true),

  type(input, value) {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, value);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  },

  async login(url, username, password) {
    const inputs = await ui.until(() => {
      const found = document.querySelectorAll("form input");
      return found.length >= 3 && found;
    }, "form");
    [url, username, password].forEach((value, at) => ui.type(inputs[at], value));
    (await ui.until(() => document.querySelector("form button[type=submit]:not([disabled])"), "button")).click();
    return true;
  },

  // Go to a view; the old one slides out while the new one slides in.
  async go(hash, part) {
    location.hash = hash;
    await new Promise((resolve) => setTimeout(resolve, 100));
    await ui.until(() => !document.querySelector("main [class*='-transition-']"), "view that stands still");
    return ui.shows(part);
  },

  rows: () => [...document.querySelectorAll("tbody tr")],
  row: (part) => ui.until(() => ui.rows().find((row) => row.innerText.includes(part)), `row with ${part}`),
  cells: async (part) => [...(await ui.row(part)).querySelectorAll("td")].map((cell) => cell.innerText.trim()),

  // Click the button at a place in a row, the last one being -1; false if the row has none there.
  async press(part, at) {
    const button = [...(await ui.row(part)).querySelectorAll("button")].at(at);
    button?.click();
    return Boolean(button) && !button.disabled;
  },
  open: async (part) => ((await ui.row(part)).querySelector("td").click(), true),

  // Choose a namespace in the list above the table.
  async select(name) {
    document.querySelector("main .v-select [role=button]").click();
    const item = () => [...document.querySelectorAll(".v-menu__content .v-list-item")].find((one) => one.innerText.trim() === name);
    (await ui.until(item, `namespace ${name} to choose`)).click();
    return true;
  },

  async submit(value) {
    const form = document.querySelector("main form");
    ui.type(form.querySelector("input"), value);
    await new Promise((resolve) => setTimeout(resolve, 50));
    form.querySelector("button[type=submit]").click();
    return true;
  },
  buttons: () => document.querySelectorAll("main button:not([disabled])").length,
};
true;
