// The order book behind every Node server here. An order takes effect as soon as it is understood
// and is answered a little later, as when a row is written first and another service told of it
// afterwards: duplicates and hang-ups have a moment to go wrong in.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

const WORK_MS = 50;

let effects = 0;

/** Answers GET /effects. */
export function count(request, response) {
  response.json({ count: effects });
}

/** Answers POST /orders, after express.json(). */
export async function create(request, response) {
  const { item, amount } = request.body ?? {};
  if (typeof item !== "string" || !Number.isInteger(amount)) {
    response.status(400).json({ error: "an order has an item and an amount" });
    return;
  }
  effects += 1;
  const id = randomUUID();
  const customer = (request.get("Authorization") ?? "nobody").split(" ").at(-1);
  await pause(WORK_MS);
  response.status(201).location(`/orders/${id}`).json({ id, customer, item, amount });
}

/** Listens on loopback, on the port that the command line gives. */
export function listen(app) {
  app.listen(Number(process.argv[2]), "127.0.0.1");
}
