"""The reference of ``benchmarks.serving``: a FastAPI route that returns bytes it was given, and does nothing else.

uvicorn benchmarks.bare:app --port 8001        # with BODY naming the file of the bytes
"""

import os
from pathlib import Path

from fastapi import FastAPI, Response

_BODY = Path(os.environ["BODY"]).read_bytes()
app = FastAPI()


@app.get("/recommend/{user_id}")
async def recommend(user_id: str) -> Response:  # noqa: ARG001 - read from the path, as any route would
    """The bytes."""
    return Response(_BODY, media_type="application/json")
