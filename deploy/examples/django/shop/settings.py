"""Settings of a small shop. What menshen asks for is marked with its name."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")
ROOT_URLCONF = "shop.urls"
TIME_ZONE = "Asia/Shanghai"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
    }
}

INSTALLED_APPS = [
    "shop.admin.BackOfficeConfig",  # menshen: in place of django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "users",
    "orders",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "users.menshen.MenshenMiddleware",  # menshen: in place of django.contrib.auth's AuthenticationMiddleware
    "users.signed_in.SignedInMiddleware",  # menshen: a view that is not marked is for users only
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_USER_MODEL = "users.User"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["users.menshen.MenshenAuthentication"],  # menshen: in place of JWTAuthentication
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}

# menshen: it sets this header on every request, and a client's own does not pass.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# menshen: with a URL, identities are taken from X-Auth-Assertion alone (`identity.assertion = true` in its config).
MENSHEN_JWKS_URL = os.environ.get("MENSHEN_JWKS_URL")
MENSHEN_ISSUER = os.environ.get("MENSHEN_ISSUER", "menshen")
MENSHEN_AUDIENCE = os.environ.get("MENSHEN_AUDIENCE", "shop-api")

# Shows callers what arrived of their own request, at /debug/headers. For setting up, never for good.
SHOW_HEADERS = os.environ.get("SHOW_HEADERS") == "1"
