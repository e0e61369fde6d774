// The orders API behind @node-idempotency/core. The core decides and stores; its users write the
// HTTP side. This one is careful: the answer is stored before it is sent, with its Location.
// The optional second argument is the URL of a Redis server; without it, memory.
import core from "@node-idempotency/core";
import memory from "@node-idempotency/storage-adapter-memory";
import redis from "@node-idempotency/storage-adapter-redis";
import express from "express";
import { count, create, listen } from "../orders.mjs";

const { Idempotency, IdempotencyError, IdempotencyErrorCodes } = core;
const KEPT_FIELDS = ["content-type", "location"];
const STATUSES = {
  [IdempotencyErrorCodes.IDEMPOTENCY_FINGERPRINT_MISSMATCH]: 422,
  [IdempotencyErrorCodes.IDEMPOTENCY_KEY_LEN_EXEEDED]: 400,
  [IdempotencyErrorCodes.IDEMPOTENCY_KEY_MISSING]: 400,
  [IdempotencyErrorCodes.REQUEST_IN_PROGRESS]: 409,
};

async function store(url) {
  if (!url) return new memory.MemoryStorageAdapter();
  const adapter = new redis.RedisStorageAdapter({ url });
  await adapter.connect();
  return adapter;
}

function replay(response, kept) {
  const { status, fields } = kept.additional;
  response.status(status).set(fields).set("Idempotent-Replayed", "true").end(kept.body);
}

function refuse(response, error) {
  if (!(error instanceof IdempotencyError)) throw error;
  const status = STATUSES[error.code] ?? 500;
  if (status === 409) response.set("Retry-After", "1");
  response.status(status).json({ error: error.message });
}

function protect(idempotency) {
  return async (request, response, next) => {
    const { headers, body, path, method } = request;
    const operation = { headers, body, path, method };
    let kept;
    try {
      kept = await idempotency.onRequest(operation);
    } catch (error) {
      return refuse(response, error);
    }
    if (kept) return replay(response, kept);
    const send = response.send.bind(response);
    response.send = (content) => {
      // Express comes back here with the text of what json() was given.
      if (typeof content === "object") return send(content);
      const present = KEPT_FIELDS.filter((name) => response.hasHeader(name));
      const fields = Object.fromEntries(present.map((name) => [name, response.get(name)]));
      const additional = { status: response.statusCode, fields };
      idempotency
        .onResponse(operation, { body: content, additional })
        .then(() => send(content), next);
      return response;
    };
    next();
  };
}

const idempotency = new Idempotency(await store(process.argv[3]));
const app = express();
app.get("/effects", count);
app.post("/orders", express.json(), protect(idempotency), create);
listen(app);
