"""The orders API on Starlette behind asgi-idempotency-header, with its memory backend."""

import asyncio
import sys
import uuid

import uvicorn
from idempotency_header_middleware import IdempotencyHeaderMiddleware
from idempotency_header_middleware.backends.memory import MemoryBackend
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

WORK_SECONDS = 0.05

effects = 0


async def count(request):
    return JSONResponse({"count": effects})


async def create(request):
    """Takes effect as soon as the order is understood and answers a little later."""
    global effects
    try:
        order = await request.json()
        item, amount = str(order["item"]), int(order["amount"])
    except (KeyError, TypeError, ValueError):
        return JSONResponse({"error": "an order has an item and an amount"}, 400)
    effects += 1
    number = str(uuid.uuid4())
    customer = request.headers.get("Authorization", "nobody").split(" ")[-1]
    await asyncio.sleep(WORK_SECONDS)
    answer = {"id": number, "customer": customer, "item": item, "amount": amount}
    return JSONResponse(answer, 201, {"Location": f"/orders/{number}"})


app = Starlette(
    routes=[Route("/effects", count), Route("/orders", create, methods=["POST"])],
    middleware=[Middleware(IdempotencyHeaderMiddleware, backend=MemoryBackend())],
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
