// Orders whose effect and idempotency commit together: pg and nothing else.
//
//     DATABASE_URL=postgres://... LISTEN=127.0.0.1:3000 node orders.mjs
//
// Behind a gateway whose route says unknown = "transactional", every order is placed exactly once,
// whatever crashes when: the row and the fact that the request took effect are one commit.

import { createHash } from "node:crypto";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

const [, host, port] = (process.env.LISTEN ?? "127.0.0.1:3000").match(/^(.*):(\d+)$/);
const isolation = process.env.ISOLATION ?? "read committed";
// A pause between the steps, for whoever wants to pull the plug just there.
const pause = () => sleep(Number(process.env.PAUSE_MS ?? 0));
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 8 });
// A connection that breaks while nobody uses it is replaced; the next query tells.
pool.on("error", () => {});

// What `hapax.commit` raises when another attempt has taken the operation over.
const OVERTAKEN = "HX010";
const UNIQUE_VIOLATION = "23505";

// Runs `work` in one transaction.
async function transaction(work) {
  const client = await pool.connect();
  try {
    await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
    const done = await work(client);
    await client.query("COMMIT");
    client.release();
    return done;
  } catch (error) {
    // Whatever state it is in, nobody shall inherit it; the server undoes what was open.
    client.release(true);
    throw error;
  }
}

// The order with its charge, and the claim's commit with the answer that retries get.
async function place({ item, caller, key, claim }) {
  const placed = await transaction(async (client) => {
    const { rows } = await client.query(
      "INSERT INTO orders (caller, key, item) VALUES ($1, $2, $3) RETURNING id",
      [caller, key, item],
    );
    await client.query("INSERT INTO charges (order_id, cents) VALUES ($1, 100)", [rows[0].id]);
    await pause();
    const answer = await commit(client, claim, rows[0].id);
    await pause();
    return answer;
  });
  await pause();
  return placed;
}

// The order that this caller has placed under this key before, longer ago than the gateway
// remembers: its answer again, which the gateway keeps from now on.
async function find({ item, caller, key, claim }) {
  return transaction(async (client) => {
    const { rows } = await client.query(
      "SELECT id, item FROM orders WHERE caller = $1 AND key = $2",
      [caller, key],
    );
    if (rows.length === 0) return [503, '{"error": "the order is just being removed"}'];
    if (rows[0].item !== item) return [422, '{"error": "another order has this key"}'];
    return commit(client, claim, rows[0].id);
  });
}

async function commit(client, claim, id) {
  const answer = JSON.stringify({ order: id });
  await client.query("SELECT hapax.commit($1, 201, $2::jsonb, $3)", [
    claim,
    JSON.stringify([["content-type", "application/json"]]),
    Buffer.from(answer),
  ]);
  return [201, answer];
}

async function attempt(order) {
  try {
    return await place(order);
  } catch (error) {
    // The last line of defence: the order is there. A retry that nobody else knew for one.
    if (error.code === UNIQUE_VIOLATION) return await find(order);
    throw error;
  }
}

async function post(request) {
  let body = "";
  for await (const piece of request) body += piece;
  const { item } = JSON.parse(body);
  // Who calls, as the gateway sees it: keys of two callers have nothing to do with each other.
  const caller = createHash("sha256")
    .update(request.headers.authorization ?? "anonymous")
    .digest("hex");
  const key = request.headers["idempotency-key"];
  const claim = request.headers["hapax-claim"];
  for (let tries = 0; tries < 10; tries++) {
    try {
      return await attempt({ item, caller, key, claim });
    } catch (error) {
      // Another transaction was first. Everything was undone; once more.
      if (error.code === "40001") continue;
      // Undone as well: another attempt has the key, and its answer counts.
      if (error.code === OVERTAKEN) {
        return [409, '{"error": "another attempt has this request"}'];
      }
      // Another rule of the tables: this order is wrong however often it is sent.
      if (error.code?.startsWith("23")) {
        return [422, '{"error": "no order that can be placed"}'];
      }
      // Undone, or committed without our hearing of it: the gateway finds out which.
      return [503, '{"error": "the database is not there"}'];
    }
  }
  return [503, '{"error": "too busy"}'];
}

const server = http.createServer(async (request, response) => {
  const [status, body] = await post(request).catch(() => [400, '{"error": "no order"}']);
  response.writeHead(status, { "content-type": "application/json" }).end(body);
});
server.listen(Number(port), host, () => {
  console.log(`listening on http://${host}:${server.address().port}`);
});
