import { Hono } from "hono";

// Ponder does not start without a server; nobody asks it.
export default new Hono();
