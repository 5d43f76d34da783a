from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """As it was before menshen, but that `openid` may be null. `id` is given by menshen, and `user_type` is in its header."""

    openid = models.CharField(max_length=64, unique=True, null=True, blank=True)
    bio = models.CharField(max_length=200, blank=True)
