"""Signs tokens as the Django backends before menshen do: djangorestframework-simplejwt with its defaults.

    JWT_SECRET=... USER_ID=42 python sign.py          HS256
    JWT_PRIVATE_KEY=... USER_ID=42 python sign.py     RS256

Prints JSON with `access` and `refresh`.
"""

import json
import os

import django
from django.conf import settings

private = os.environ.get("JWT_PRIVATE_KEY")
settings.configure(
    SECRET_KEY="not the secret that signs tokens",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
    SIMPLE_JWT={"ALGORITHM": "RS256", "SIGNING_KEY": private}
    if private
    else {"ALGORITHM": "HS256", "SIGNING_KEY": os.environ["JWT_SECRET"]},
)
django.setup()

# What follows reads the settings when it is imported.
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import RefreshToken

refresh = RefreshToken.for_user(User(id=int(os.environ["USER_ID"])))
print(json.dumps({"access": str(refresh.access_token), "refresh": str(refresh)}))
