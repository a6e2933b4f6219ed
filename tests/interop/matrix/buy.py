"""Buys every URL with the official httpx client and prints [{status, body, receipt}] as JSON.

Usage: FLORIN_KEY=0x.. python buy.py RPC_URL URL...
"""

import asyncio
import json
import os
import sys

from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import x402HttpxClient
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC
from x402.mechanisms.evm.upto import UptoEvmClientScheme

rpc_url, *urls = sys.argv[1:]


async def main() -> None:
    signer = EthAccountSignerWithRPC(Account.from_key(os.environ["FLORIN_KEY"]), rpc_url)
    payer = x402Client()
    payer.register("eip155:*", ExactEvmClientScheme(signer))
    payer.register("eip155:*", UptoEvmClientScheme(signer))
    bought = []
    async with x402HttpxClient(payer, timeout=60) as client:
        for url in urls:
            try:
                response = await client.get(url)
            except Exception as error:
                bought.append({"status": 599, "body": repr(error), "receipt": None})
                continue
            header = response.headers.get("payment-response")
            receipt = header and decode_payment_response_header(header).model_dump(mode="json", by_alias=True)
            bought.append({"status": response.status_code, "body": response.text, "receipt": receipt})
    print(json.dumps(bought))


asyncio.run(main())
