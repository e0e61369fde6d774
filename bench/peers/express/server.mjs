// The orders API without any idempotency: what the others start from.
import express from "express";
import { count, create, listen } from "../orders.mjs";

const app = express();
app.get("/effects", count);
app.post("/orders", express.json(), create);
listen(app);
