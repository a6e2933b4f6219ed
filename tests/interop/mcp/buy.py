"""Calls the tool `weather` for each city with the official MCP client, which pays, and prints [{text, failed, receipt}] as JSON.

Usage: FLORIN_KEY=0x.. python buy.py RPC_URL SERVER_URL CITY...
"""

import asyncio
import json
import os
import sys

from eth_account import Account
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from x402 import x402Client
from x402.mcp import x402MCPSession
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC

rpc_url, url, *cities = sys.argv[1:]


async def main() -> None:
    payer = x402Client()
    payer.register("eip155:*", ExactEvmClientScheme(EthAccountSignerWithRPC(Account.from_key(os.environ["FLORIN_KEY"]), rpc_url)))
    bought = []
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        buyer = x402MCPSession(session, payer)
        await buyer.initialize()
        assert [tool.name for tool in (await buyer.list_tools()).tools] == ["weather"]
        for city in cities:
            result = await buyer.call_tool("weather", {"city": city})
            receipt = result.payment_response and result.payment_response.model_dump(mode="json", by_alias=True)
            bought.append({"text": result.content[0].text, "failed": result.is_error, "receipt": receipt})
    print(json.dumps(bought))


asyncio.run(main())
