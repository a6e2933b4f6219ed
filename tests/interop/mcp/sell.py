"""A paid tool with the official MCP SDK and the official payment wrapper. Prints the server's URL when ready. Ends with its stdin.

Usage: python sell.py PAYEE FACILITATOR_URL
"""

import asyncio
import os
import socket
import sys
import threading

import uvicorn
from mcp.server.fastmcp import FastMCP
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.mcp import create_payment_wrapper
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.schemas import ResourceConfig

NETWORK = "eip155:84532"
payee, facilitator = sys.argv[1:]

server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
server.register(NETWORK, ExactEvmServerScheme())
server.initialize()
accepts = server.build_payment_requirements(ResourceConfig(scheme="exact", price="$0.01", network=NETWORK, pay_to=payee))

mcp = FastMCP("official", stateless_http=True, json_response=True, log_level="ERROR")


@mcp.tool()
@create_payment_wrapper(server, accepts=accepts)
async def weather(city: str) -> str:
    if city == "nowhere":
        raise ValueError("no such city")
    return f"sunny in {city}"


async def main() -> None:
    place = socket.create_server(("127.0.0.1", 0))
    serving = uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="error"))
    task = asyncio.create_task(serving.serve(sockets=[place]))
    while not serving.started:
        await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{place.getsockname()[1]}/mcp", flush=True)
    await task


threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(main())
