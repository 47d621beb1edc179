// A headless Chromium that obeys: one JSON command a line on stdin, one JSON answer a line on
// stdout. `node browser.mjs URL`, with playwright-core in NODE_PATH's place (see support/browser.rs).
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.env.BROWSER_MODULES + "/");
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: process.env.BROWSER_PROGRAM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("console", (message) => {
  if (message.type() === "error") complaints.push(message.text());
});
await page.goto(process.argv[2]);

const commands = {
  text: async ({ selector }) => await page.locator(selector).allInnerTexts(),
  fill: async ({ selector, value }) => await page.locator(selector).fill(value),
  type: async ({ value }) => await page.keyboard.type(value),
  click: async ({ selector }) => await page.locator(selector).click(),
  select: async ({ selector, value }) => await page.locator(selector).selectOption(value),
  run: async ({ script }) => await page.evaluate(script),
  look: async ({ dark, width, height }) => {
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    await page.setViewportSize({ width, height });
  },
  screenshot: async ({ path }) => { await page.screenshot({ path, fullPage: true }); },
  complaints: async () => complaints,
};
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    const result = await commands[command.do](command);
    console.log(JSON.stringify({ ok: result ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await browser.close();
