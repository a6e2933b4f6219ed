"""Lists what a market has for models with the official MCP client, reads every resource, calls the tools of FLORIN_PLAN (a JSON array of calls,
in which "$3.id" stands for what the fourth call told) as the agent of FLORIN_API_KEY, lists tools and calls one over the transport of revision
2024-11-05, sends money for which its user is asked over either transport, then, as nobody, buys a listing by the official payment wrapper.
Prints {tools, templates, read, called, streamed, asked, bought} as JSON.

Usage: FLORIN_KEY=0x.. FLORIN_API_KEY=.. FLORIN_PLAN=.. python market.py RPC_URL MARKET_URL LISTING AGENT
"""

import asyncio
import json
import os
import re
import sys

from eth_account import Account
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import ElicitResult
from pydantic import AnyUrl
from x402 import x402Client
from x402.mcp import x402MCPSession
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC

rpc_url, url, listing, agent = sys.argv[1:]
headers = {"authorization": f"Bearer {os.environ['FLORIN_API_KEY']}"}


async def look_and_call() -> dict:
    async with streamablehttp_client(url, headers=headers) as (read, write, _), ClientSession(read, write) as known:
        await known.initialize()
        tools = [tool.name for tool in (await known.list_tools()).tools]
        resources = [str(resource.uri) for resource in (await known.list_resources()).resources]
        templates = [template.uriTemplate for template in (await known.list_resource_templates()).resourceTemplates]
        texts = []
        for uri in [*resources, templates[0].replace("{id}", agent)]:
            texts.append((await known.read_resource(AnyUrl(uri))).contents[0].text)
        called: list[dict] = []
        for call in json.loads(os.environ["FLORIN_PLAN"]):
            told = lambda found: called[int(found[1])]["structuredContent"][found[2]]
            arguments = json.loads(re.sub(r"\$(\d+)\.(\w+)", told, json.dumps(call["arguments"])))
            result = await known.call_tool(call["name"], arguments)
            called.append(result.model_dump(mode="json", by_alias=True))
    return {"tools": tools, "templates": templates, "read": texts, "called": called}


async def listen() -> dict:
    async with sse_client(f"{url}/sse", headers=headers) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = len((await session.list_tools()).tools)
        called = await session.call_tool("wallet_balance", {})
        return {"tools": tools, "called": called.model_dump(mode="json", by_alias=True)}


async def ask(transport) -> dict:
    questions = []

    async def agree(_, params) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="accept", content={"approve": True})

    async with transport as (read, write, *_), ClientSession(read, write, elicitation_callback=agree) as session:
        await session.initialize()
        quote = await session.call_tool("wallet_quote_transfer", {"to_agent_id": agent, "asset": "ARD", "amount": "100"})
        sent = await session.call_tool("wallet_transfer", {"quote_id": quote.structuredContent["quote_id"]})
        return {"questions": questions, "failed": sent.isError}


async def buy() -> dict:
    payer = x402Client()
    payer.register("eip155:*", ExactEvmClientScheme(EthAccountSignerWithRPC(Account.from_key(os.environ["FLORIN_KEY"]), rpc_url)))
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        buyer = x402MCPSession(session, payer)
        await buyer.initialize()
        paid = await buyer.call_tool("marketplace_express_buy", {"listing_id": listing})
        receipt = paid.payment_response and paid.payment_response.model_dump(mode="json", by_alias=True)
        return {"text": paid.content[0].text, "receipt": receipt}


async def main() -> None:
    told = {**await look_and_call(), "streamed": await listen()}
    told["asked"] = {
        "http": await ask(streamablehttp_client(url, headers=headers)),
        "sse": await ask(sse_client(f"{url}/sse", headers=headers)),
    }
    print(json.dumps({**told, "bought": await buy()}))


asyncio.run(main())
