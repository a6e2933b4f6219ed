"""The official Python package's side of payment channels (scheme batch-settlement) on eip155:84532, as channels.mjs is of the TypeScript one.

Usage: FLORIN_KEY=0x.. python channels.py buy URL COUNT      buys COUNT times one after the other, then asks for what is left; prints JSON.
                                                                FLORIN_RPC_URL: what to ask about channels that it has no record of
       FLORIN_KEY=0x.. python channels.py sell FACILITATOR_URL PAYEE      the key signs claims and refunds; POST /claim claims all; prints
                                                                          its URL when ready and ends with its stdin
"""

import asyncio
import json
import os
import socket
import sys
import threading

import uvicorn
from eth_account import Account
from fastapi import FastAPI
from x402 import x402Client, x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient, PaymentOption
from x402.http.clients.httpx import x402HttpxClient
from x402.http.middleware.fastapi import payment_middleware
from x402.http.types import RouteConfig
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.batch_settlement import client as buyer
from x402.mechanisms.evm.batch_settlement import server as seller
from x402.mechanisms.evm.batch_settlement.authorizer_signer import LocalAuthorizerSigner
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC

NETWORK = "eip155:84532"
role, target, third = sys.argv[1:]
account = Account.from_key(os.environ["FLORIN_KEY"])


def told(answer) -> dict:
    return answer.model_dump(mode="json", by_alias=True)


async def buy() -> None:
    scheme = buyer.BatchSettlementEvmScheme(EthAccountSignerWithRPC(account, os.environ["FLORIN_RPC_URL"]))
    payer = x402Client()
    payer.register("eip155:*", scheme)
    answers = []
    async with x402HttpxClient(payer, timeout=60) as client:
        for _ in range(int(third)):
            response = await client.get(target)
            header = response.headers.get("payment-response")
            receipt = header and told(decode_payment_response_header(header))
            answers.append({"status": response.status_code, "body": response.text, "receipt": receipt})
    refund = await asyncio.to_thread(scheme.refund, target)
    print(json.dumps({"answers": answers, "refund": told(refund)}))


async def sell() -> None:
    facilitator = HTTPFacilitatorClient(FacilitatorConfig(url=target))
    config = seller.BatchSettlementEvmSchemeServerConfig(receiver_authorizer_signer=LocalAuthorizerSigner(account))
    scheme = seller.BatchSettlementEvmScheme(third, config)
    server = x402ResourceServer(facilitator)
    server.register(NETWORK, scheme)
    accepts = PaymentOption(scheme="batch-settlement", price="$0.01", network=NETWORK, pay_to=third)
    app = FastAPI()
    app.middleware("http")(payment_middleware({"GET /report": RouteConfig(accepts=accepts)}, server))

    @app.post("/claim")
    async def claim() -> dict[str, int]:
        manager = scheme.create_channel_manager(facilitator, NETWORK)
        claims = await manager.claim()
        # What a refund claimed is paid out by nothing else.
        await manager.settle()
        return {"claims": len(claims)}

    @app.get("/report")
    async def report() -> dict[str, str]:
        return {"report": "the official server sold this"}

    place = socket.create_server(("127.0.0.1", 0))
    serving = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    task = asyncio.create_task(serving.serve(sockets=[place]))
    while not serving.started:
        await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{place.getsockname()[1]}", flush=True)
    await task


if role == "sell":
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run({"buy": buy, "sell": sell}[role]())
