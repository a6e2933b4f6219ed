"""One shop per facilitator with the official FastAPI middleware: /eip3009, /permit2 and /upto, each for at most $0.01, of which /upto
charges a quarter. Prints the shops' URLs in one line when ready. Ends with its stdin.

Usage: python sell.py PAYEE USDC FACILITATOR_URL...
"""

import asyncio
import os
import socket
import sys
import threading

import uvicorn
from fastapi import FastAPI, Response
from x402 import x402ResourceServer
from x402.extensions.eip2612_gas_sponsoring import declare_eip2612_gas_sponsoring_extension
from x402.http import FacilitatorConfig, HTTPFacilitatorClient, PaymentOption
from x402.http.middleware.fastapi import payment_middleware, set_settlement_overrides
from x402.http.types import RouteConfig
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.mechanisms.evm.upto import UptoEvmServerScheme
from x402.schemas import AssetAmount

NETWORK = "eip155:84532"
payee, usdc, *facilitators = sys.argv[1:]


def price(**more: str) -> AssetAmount:
    return AssetAmount(amount="10000", asset=usdc, extra={"name": "USDC", "version": "2", **more})


OFFERS = {
    "eip3009": ("exact", "$0.01"),
    "permit2": ("exact", price(assetTransferMethod="permit2")),
    "upto": ("upto", price()),
}


def shop(facilitator: str) -> FastAPI:
    server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
    server.register(NETWORK, ExactEvmServerScheme())
    server.register(NETWORK, UptoEvmServerScheme())
    routes = {
        f"GET /{name}": RouteConfig(
            accepts=PaymentOption(scheme=scheme, price=amount, network=NETWORK, pay_to=payee),
            extensions=None if name == "eip3009" else declare_eip2612_gas_sponsoring_extension(),
        )
        for name, (scheme, amount) in OFFERS.items()
    }
    app = FastAPI()
    app.middleware("http")(payment_middleware(routes, server))

    @app.get("/{name}")
    async def sell(name: str, response: Response) -> dict[str, str]:
        if name == "upto":
            set_settlement_overrides(response, {"amount": "25%"})
        return {"sold": name}

    return app


async def main() -> None:
    places = [socket.create_server(("127.0.0.1", 0)) for _ in facilitators]
    servers = [uvicorn.Server(uvicorn.Config(shop(facilitator), log_level="error")) for facilitator in facilitators]
    serving = [asyncio.create_task(server.serve(sockets=[place])) for server, place in zip(servers, places)]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    print(*(f"http://127.0.0.1:{place.getsockname()[1]}" for place in places), flush=True)
    await asyncio.gather(*serving)


threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(main())
