"""NocoDB's error responses: the codes and texts of 0.301.3."""

from __future__ import annotations

from aiohttp import web


class NocoDBErrorResponse(Exception):
    """`key` is "message" in most of NocoDB, "msg" in older parts of it."""

    def __init__(self, status: int, error: str, message: str, *, key: str = "message") -> None:
        super().__init__(message)
        self.status = status
        self.body = {**({"error": error} if error else {}), key: message}

    def answer(self) -> web.Response:
        return web.json_response(self.body, status=self.status)


def unprocessable(error: str, message: str) -> NocoDBErrorResponse:
    return NocoDBErrorResponse(422, error, message)


def no_record(id: object) -> NocoDBErrorResponse:
    return NocoDBErrorResponse(404, "ERR_RECORD_NOT_FOUND", f"Record '{id}' not found")


def no_token() -> NocoDBErrorResponse:
    return NocoDBErrorResponse(
        401, "ERR_AUTHENTICATION_REQUIRED", "Authentication required - Invalid token"
    )


def forbidden(what: str, role: str) -> NocoDBErrorResponse:
    """`role` "" for who has no part in that base."""
    words = f"You do not have permission to {what} with the roles: {role.title()}."
    return NocoDBErrorResponse(
        403, "ERR_FORBIDDEN", f"Forbidden - {words if role else 'Unauthorized access'}"
    )
