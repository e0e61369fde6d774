// Orders whose effect and idempotency commit together: pg and nothing else.
//
//     DATABASE_URL=postgres://... LISTEN=127.0.0.1:3000 node orders.mjs
//
// Behind a gateway whose route says unknown = "transactional", every order is placed exactly once,
// whatever crashes when: the row and the fact that the request took effect are one commit.

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

// One transaction: the order, and the claim's commit with the answer that retries get.
async function place(order, key, claim) {
  const client = await pool.connect();
  try {
    await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
    const { rows } = await client.query(
      "INSERT INTO orders (key, item) VALUES ($1, $2) RETURNING id",
      [key, order.item],
    );
    const answer = JSON.stringify({ order: rows[0].id });
    await pause();
    await client.query("SELECT hapax.commit($1, 201, $2::jsonb, $3)", [
      claim,
      JSON.stringify([["content-type", "application/json"]]),
      Buffer.from(answer),
    ]);
    await pause();
    await client.query("COMMIT");
    await pause();
    client.release();
    return [201, answer];
  } catch (error) {
    // Whatever state it is in, nobody shall inherit it; the server undoes what was open.
    client.release(true);
    throw error;
  }
}

async function post(request) {
  let body = "";
  for await (const piece of request) body += piece;
  const order = JSON.parse(body);
  for (let tries = 0; tries < 10; tries++) {
    try {
      return await place(
        order,
        request.headers["idempotency-key"],
        request.headers["hapax-claim"],
      );
    } catch (error) {
      // Another transaction was first. Everything was undone; once more.
      if (error.code === "40001") continue;
      // Undone as well: another attempt has the key, and its answer counts.
      if (error.code === OVERTAKEN) {
        return [409, '{"error": "another attempt has this request"}'];
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
