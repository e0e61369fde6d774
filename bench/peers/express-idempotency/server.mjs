// The orders API behind express-idempotency, as its documentation shows it: the middleware goes on
// to the handler after a replay as well, and the handler asks whether it was one.
import express from "express";
import guard from "express-idempotency";
import { count, create, listen } from "../orders.mjs";

const app = express();
app.get("/effects", count);
app.post("/orders", express.json(), guard.idempotency(), (request, response) => {
  if (guard.getSharedIdempotencyService().isHit(request)) return undefined;
  return create(request, response);
});
listen(app);
