import { ponder } from "ponder:registry";
import { account, transfer } from "ponder:schema";

ponder.on("Token:Transfer", async ({ event, context }) => {
  const { from, to, value } = event.args;
  await context.db.insert(transfer).values({ id: event.id, block: event.block.number, from, to, amount: value });
  if (process.env.BALANCES !== "1") return;
  const add = (address: `0x${string}`, amount: bigint) =>
    context.db
      .insert(account)
      .values({ address, balance: amount })
      .onConflictDoUpdate((row) => ({ balance: row.balance + amount }));
  await add(from, -value);
  await add(to, value);
});
