"""A Django backend as they were before menshen: djangorestframework-simplejwt verifies the JWT of each request, with its own secret.

The tests put it behind menshen, or give it a token of menshen, to prove that SimpleJWT accepts what menshen signs (HS256 with the
backend's secret) and refuses what it should. So nothing here may be lenient, SimpleJWT keeps its defaults, and nothing here knows
menshen. `/api/reference/` has the answers of the libraries themselves, to compare with what menshen says in their place.

    JWT_SECRET=... USER_ID=42 PORT=0 python main.py     prints `listening PORT` when it is ready

When USER_ID is an integer there is a user with that id, the name `reference` and the password `reference-password`, and after it
one with the name `inactive`, the same password and no active account.
"""

import os
import re

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="not the secret that signs tokens",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "rest_framework",
        # For a refresh token that was good and is taken back.
        "rest_framework_simplejwt.token_blacklist",
    ],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    # In memory, so that a killed process leaves nothing behind; shared, because every connection is served by a thread of its own.
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:users?mode=memory&cache=shared"}},
    # Tables are made from the models and a password is hashed once: both only to start fast.
    MIGRATION_MODULES={"auth": None, "contenttypes": None, "token_blacklist": None},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_THROTTLE_RATES": {"second": "1/second", "minute": "1/minute"},
    },
    SIMPLE_JWT={"ALGORITHM": "HS256", "SIGNING_KEY": os.environ["JWT_SECRET"]},
    # Faults go to standard error; refusals are what the tests look for, and are not worth a line.
    LOGGING={
        "version": 1,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"django": {"handlers": ["stderr"], "level": "ERROR"}, "django.server": {"level": "CRITICAL"}},
    },
)
django.setup()

# What follows reads the settings when it is imported.
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.views import TokenBlacklistView, TokenObtainPairView, TokenRefreshView


class Stateless(APIView):
    """Believes the token: the user is what its claims say."""

    authentication_classes = [JWTStatelessUserAuthentication]

    def get(self, request):
        return Response(
            {"user_id": request.user.id, "token_type": request.auth["token_type"], "claims": request.auth.payload}
        )


class Me(APIView):
    """Believes the database: the user is the row that the token names."""

    def get(self, request):
        return Response({"id": request.user.id, "username": request.user.username})


class Open(APIView):
    """A reference route for everybody."""

    authentication_classes = []
    permission_classes = []


class Echo(Open):
    def post(self, request):
        return Response(request.data)


class Forbidden(Open):
    def get(self, request):
        raise PermissionDenied


class Missing(Open):
    def get(self, request):
        raise NotFound


class Throttled(Open):
    """Refuses the second call within the time that the route's `throttle_scope` names."""

    throttle_classes = [ScopedRateThrottle]
    throttle_scope = None

    def get(self, request):
        return Response({})


def healthz(request):
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("healthz/", healthz),
    path("api/stateless/", Stateless.as_view()),
    path("api/me/", Me.as_view()),
    path("api/reference/login/", TokenObtainPairView.as_view()),
    path("api/reference/refresh/", TokenRefreshView.as_view()),
    path("api/reference/blacklist/", TokenBlacklistView.as_view()),
    path("api/reference/echo/", Echo.as_view()),
    path("api/reference/forbidden/", Forbidden.as_view()),
    path("api/reference/missing/", Missing.as_view()),
    path("api/reference/throttled/second/", Throttled.as_view(throttle_scope="second")),
    path("api/reference/throttled/minute/", Throttled.as_view(throttle_scope="minute")),
]


def main():
    call_command("migrate", run_syncdb=True, verbosity=0)
    user_id = os.environ.get("USER_ID", "")
    if re.fullmatch("-?[0-9]+", user_id):
        User.objects.create_user(id=int(user_id), username="reference", password="reference-password")
        inactive = {"id": int(user_id) + 1, "username": "inactive", "password": "reference-password"}
        User.objects.create_user(**inactive, is_active=False)

    # The server of `runserver` without its reloader and its banner: unlike wsgiref's own it keeps connections alive, and reads a
    # body that no view wanted before it closes, so that a client always gets the answer.
    server = ThreadedWSGIServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), WSGIRequestHandler)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    print(f"listening {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
