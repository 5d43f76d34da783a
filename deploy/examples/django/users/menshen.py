"""Who is calling, as menshen says it. This file is what you copy into your own backend.

menshen sets the headers that are read here on every request and removes a client's own, in every spelling. So whoever reaches this
process past menshen is whoever they say they are: bind to 127.0.0.1 or to a Unix socket, and set MENSHEN_JWKS_URL where that is not
to be the only wall.
"""

import re

import jwt
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser
from django.http import JsonResponse
from rest_framework.authentication import BaseAuthentication

keys = jwt.PyJWKClient(settings.MENSHEN_JWKS_URL, timeout=2) if settings.MENSHEN_JWKS_URL else None


class MenshenMiddleware(AuthenticationMiddleware):
    """Sets `request.user`. It takes the place of Django's own, so no session cookie signs anybody in any more."""

    def process_request(self, request):
        try:
            user = user_of(request.headers)
        except jwt.PyJWKClientConnectionError:
            return JsonResponse({"detail": "No keys of menshen."}, status=503)  # nobody is signed out by that
        except jwt.PyJWTError:
            return refusal()

        async def auser():
            return user

        request.user = request.menshen_user = user
        request.auser = auser


class MenshenAuthentication(BaseAuthentication):
    """The same user for Django REST framework."""

    def authenticate(self, request):
        user = request._request.menshen_user
        return (user, None) if user.is_authenticated else None

    def authenticate_header(self, request):
        return "Bearer"  # without it Django REST framework says 403 in place of 401


def user_of(headers):
    """The caller's row, made on first sight: of several first requests at once one makes it, and all find it."""
    if headers.get("X-Auth-State") != "authenticated":
        return AnonymousUser()
    if keys:
        claims = claims_of(headers.get("X-Auth-Assertion", ""))
        user_id, user_type = claims["sub"], claims.get("user_type")
    else:
        user_id, user_type = headers.get("X-User-Id", ""), headers.get("X-User-Type")
    # `users.ids = "integer"` of menshen. With UUIDs: a UUIDField as primary key. Two headers of one name arrive as "1,2".
    if not re.fullmatch("[1-9][0-9]{0,17}", user_id):
        raise jwt.InvalidTokenError("no integer for an id")
    row = {"username": f"menshen-{user_id}", "password": make_password(None)}
    user, _ = get_user_model().objects.get_or_create(pk=int(user_id), defaults=row)
    if not user.is_active:
        raise jwt.InvalidTokenError("switched off in this backend")
    # Of this request, not of the row: who is an administrator is menshen's to say, each time anew.
    user.is_staff = user.is_superuser = user_type == "admin"
    return user


def claims_of(assertion):
    """What a good assertion says; a bad one raises PyJWTError."""
    if jwt.get_unverified_header(assertion).get("typ") != "auth-assertion+jwt":
        raise jwt.InvalidTokenError("another kind of token")
    key = keys.get_signing_key_from_jwt(assertion).key
    names = {"audience": settings.MENSHEN_AUDIENCE, "issuer": settings.MENSHEN_ISSUER}
    return jwt.decode(assertion, key, ["EdDSA", "ES256"], {"require": ["sub", "exp"]}, leeway=5, **names)


def refusal():
    answer = {"detail": "Authentication credentials were not provided."}
    return JsonResponse(answer, status=401, headers={"WWW-Authenticate": "Bearer"})
